# Redis in cluster mode, MySQL, and an existing VPC.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1a", "us-east-1b", "us-east-1c"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { region = "us-east-1" }
  }
}

variables {
  image           = "123456789012.dkr.ecr.us-east-1.amazonaws.com/ringway:0.1.0"
  certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/0"
  auth            = { jwt_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:jwt-AbCdEf" }
  relay           = { mode = "sharded", shards = 2, replicas_per_shard = 2, hmac_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:hmac-AbCdEf" }
  database        = { enabled = true }
  network = {
    vpc_id             = "vpc-1"
    vpc_cidr           = "10.1.0.0/16"
    public_subnet_ids  = ["subnet-a", "subnet-b"]
    private_subnet_ids = ["subnet-c", "subnet-d"]
  }
}

run "sharded" {
  command = apply

  assert {
    condition     = aws_elasticache_replication_group.main.num_node_groups == 2 && aws_elasticache_replication_group.main.replicas_per_node_group == 2
    error_message = "Shards, not copies of one."
  }

  assert {
    condition     = one([for it in aws_elasticache_parameter_group.relay.parameter : it.value if it.name == "cluster-enabled"]) == "yes"
    error_message = "Cluster mode must be on."
  }

  assert {
    condition     = local.relay_nodes == tolist(["websocket-service-relay-0001-001", "websocket-service-relay-0001-002", "websocket-service-relay-0001-003", "websocket-service-relay-0002-001", "websocket-service-relay-0002-002", "websocket-service-relay-0002-003"])
    error_message = "Alarms watch every node."
  }

  assert {
    condition     = local.settings_wanted["relay.mode"] == "sharded"
    error_message = "The program must be told."
  }
}

run "mysql" {
  command = apply

  assert {
    condition     = aws_db_instance.history[0].multi_az && aws_db_instance.history[0].storage_encrypted && !aws_db_instance.history[0].publicly_accessible
    error_message = "MySQL survives a zone, is encrypted and private."
  }

  assert {
    condition     = aws_db_instance.history[0].manage_master_user_password
    error_message = "RDS keeps the master password."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.history_from_tasks[0].referenced_security_group_id == aws_security_group.tasks.id
    error_message = "Only tasks reach MySQL."
  }

  assert {
    condition     = toset([for it in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].secrets : it.name if startswith(it.name, "DB_")]) == toset(["DB_PASSWORD", "DB_USERNAME"])
    error_message = "User and password come as secrets."
  }

  assert {
    condition     = one([for it in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].secrets : it.valueFrom if it.name == "JWT_SECRET"]) == var.auth.jwt_secret_arn
    error_message = "The key of tokens comes as a secret."
  }

  assert {
    condition     = alltrue([for it in aws_cloudwatch_log_group.history : it.retention_in_days == var.log_retention_days]) && toset([for it in aws_cloudwatch_log_group.history : it.name]) == toset(["/aws/rds/instance/websocket-service-history/error", "/aws/rds/instance/websocket-service-history/slowquery"])
    error_message = "What RDS logs is not kept for ever."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.main["mysql-connections"].threshold == 0.8 * tonumber(one([for it in aws_db_parameter_group.history[0].parameter : it.value if it.name == "max_connections"]))
    error_message = "The alarm must know what MySQL takes."
  }

  assert {
    condition     = length([for arn in data.aws_iam_policy_document.execution.statement[3].resources : arn]) == 4
    error_message = "Start-up reads just these secrets."
  }
}

run "existing_vpc" {
  command = apply

  assert {
    condition     = length(aws_vpc.main) == 0 && length(aws_subnet.public) == 0 && length(aws_nat_gateway.main) == 0
    error_message = "No network is made."
  }

  assert {
    condition     = toset(aws_ecs_service.main.network_configuration[0].subnets) == toset(["subnet-c", "subnet-d"])
    error_message = "Tasks are in the private subnets."
  }

  assert {
    condition     = local.settings_wanted["server.trusted_proxies"] == "10.1.0.0/16"
    error_message = "X-Forwarded-For is believed from the VPC only."
  }
}

run "secrets_of_the_program" {
  command = apply

  variables {
    secret_settings      = { "metrics.token" = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tokens-AbCdEf:metrics::", "admin.token" = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tokens-AbCdEf:admin::" }
    secrets_kms_key_arns = ["arn:aws:kms:us-east-1:123456789012:key/1"]
  }

  assert {
    condition     = one([for it in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].secrets : it.valueFrom if it.name == "RINGWAY_METRICS_TOKEN"]) == var.secret_settings["metrics.token"]
    error_message = "The token comes as a secret, with its key."
  }

  assert {
    condition     = length([for arn in data.aws_iam_policy_document.execution.statement[3].resources : arn if arn == "arn:aws:secretsmanager:us-east-1:123456789012:secret:tokens-AbCdEf"]) == 1
    error_message = "Start-up reads the secret, which is named once and without a key."
  }

  assert {
    condition     = contains(data.aws_iam_policy_document.execution.statement[4].resources, "arn:aws:kms:us-east-1:123456789012:key/1")
    error_message = "Start-up may decrypt it."
  }

  assert {
    condition     = contains(data.aws_iam_policy_document.execution.statement[1].resources, "arn:aws:ecr:us-east-1:123456789012:repository/ringway")
    error_message = "Start-up may pull the image from where it is."
  }
}

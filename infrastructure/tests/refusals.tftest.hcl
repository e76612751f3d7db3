# What AWS or the program would refuse is refused before anything is made.

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
  auth            = { jwks_url = "https://login.example.com/keys" }
}

run "name_too_long" {
  command = plan

  variables {
    name = "a-name-that-is-far-too-long"
  }

  expect_failures = [var.name]
}

run "image_latest" {
  command = plan

  variables {
    image = "ringway:latest"
  }

  expect_failures = [var.image]
}

run "image_without_tag" {
  command = plan

  variables {
    image = "ringway"
  }

  expect_failures = [var.image]
}

run "compute_unknown" {
  command = plan

  variables {
    compute = "lambda"
  }

  expect_failures = [var.compute]
}

run "architecture_unknown" {
  command = plan

  variables {
    architecture = "arm64"
  }

  expect_failures = [var.architecture]
}

run "cpu_that_fargate_does_not_have" {
  command = plan

  variables {
    cpu    = 3000
    memory = 8192
  }

  expect_failures = [var.cpu]
}

run "memory_that_fargate_does_not_have" {
  command = plan

  variables {
    cpu    = 1024
    memory = 1024
  }

  expect_failures = [var.memory]
}

run "more_connections_than_files" {
  command = plan

  variables {
    connections_max = 2000000
  }

  expect_failures = [var.connections_max]
}

run "one_task" {
  command = plan

  variables {
    tasks = { min = 1 }
  }

  expect_failures = [var.tasks]
}

run "target_too_near_the_limit" {
  command = plan

  variables {
    tasks = { connections_target = 19000 }
  }

  expect_failures = [var.tasks]
}

run "one_subnet" {
  command = plan

  variables {
    network = { vpc_id = "vpc-1", vpc_cidr = "10.0.0.0/16", public_subnet_ids = ["a"], private_subnet_ids = ["b"] }
  }

  expect_failures = [var.network]
}

run "four_zones" {
  command = plan

  variables {
    zones_count = 4
  }

  expect_failures = [var.zones_count]
}

run "balancer_unknown" {
  command = plan

  variables {
    balancer = "clb"
  }

  expect_failures = [var.balancer]
}

run "alb_without_certificate" {
  command = plan

  variables {
    certificate_arn = null
  }

  expect_failures = [var.certificate_arn]
}

run "nlb_without_tls" {
  command = plan

  variables {
    balancer = "nlb"
  }

  expect_failures = [var.tls_secret_arn]
}

run "secret_without_suffix" {
  command = plan

  variables {
    balancer       = "nlb"
    tls_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tls"
  }

  expect_failures = [var.tls_secret_arn]
}

run "idle_timeout_within_two_heart_beats" {
  command = plan

  variables {
    idle_timeout = 50
  }

  expect_failures = [var.idle_timeout]
}

run "idle_timeout_over_the_balancers" {
  command = plan

  variables {
    idle_timeout = 4001
  }

  expect_failures = [var.idle_timeout]
}

run "deregistration_of_300" {
  command = plan

  variables {
    deregistration_delay = 300
  }

  expect_failures = [var.deregistration_delay]
}

run "drain_past_the_kill" {
  command = plan

  variables {
    drain = { window = 75, deadline = 120 }
  }

  expect_failures = [var.drain]
}

run "window_past_the_deadline" {
  command = plan

  variables {
    drain = { window = 110, deadline = 110 }
  }

  expect_failures = [var.drain]
}

run "relay_mode_unknown" {
  command = plan

  variables {
    relay = { mode = "streams" }
  }

  expect_failures = [var.relay]
}

run "relay_without_replica" {
  command = plan

  variables {
    relay = { replicas_per_shard = 0 }
  }

  expect_failures = [var.relay]
}

run "database_name_with_a_dash" {
  command = plan

  variables {
    database = { name = "my-db" }
  }

  expect_failures = [var.database]
}

run "auth_left_open" {
  command = plan

  variables {
    auth = {}
  }

  expect_failures = [var.auth]
}

run "auth_off_beside_keys" {
  command = plan

  variables {
    auth = { off = true, jwks_url = "https://login.example.com/keys" }
  }

  expect_failures = [var.auth]
}

run "any_origin" {
  command = plan

  variables {
    origins = ["*"]
  }

  expect_failures = [var.origins]
}

run "retention_that_cloudwatch_lacks" {
  command = plan

  variables {
    log_retention_days = 45
  }

  expect_failures = [var.log_retention_days]
}

run "too_few_hosts_for_a_deployment" {
  command = plan

  variables {
    compute   = "ec2"
    instances = { max = 20 }
  }

  expect_failures = [var.instances]
}

run "name_with_two_dashes" {
  command = plan

  variables {
    name = "ring--way"
  }

  expect_failures = [var.name]
}

run "tags_of_aws" {
  command = plan

  variables {
    tags = { "aws:cost" = "x" }
  }

  expect_failures = [var.tags]
}

run "target_of_no_connections" {
  command = plan

  variables {
    tasks = { connections_target = 0 }
  }

  expect_failures = [var.tasks]
}

run "cpu_target_of_all" {
  command = plan

  variables {
    tasks = { cpu_target_percent = 100 }
  }

  expect_failures = [var.tasks]
}

run "hosts_of_the_other_architecture" {
  command = plan

  variables {
    compute      = "ec2"
    architecture = "ARM64"
  }

  expect_failures = [var.instances]
}

run "fewer_hosts_than_tasks" {
  command = plan

  variables {
    compute   = "ec2"
    instances = { min = 1 }
  }

  expect_failures = [var.instances]
}

run "disk_too_small_for_the_image_of_hosts" {
  command = plan

  variables {
    instances = { disk_gib = 20 }
  }

  expect_failures = [var.instances]
}

run "vpc_without_a_range" {
  command = plan

  variables {
    network = { vpc_id = "vpc-1", vpc_cidr = "vpc", public_subnet_ids = ["a", "b"], private_subnet_ids = ["c", "d"] }
  }

  expect_failures = [var.network]
}

run "vpc_cidr_too_small" {
  command = plan

  variables {
    vpc_cidr = "10.0.0.0/29"
  }

  expect_failures = [var.vpc_cidr]
}

run "nat_unknown" {
  command = plan

  variables {
    nat = "none"
  }

  expect_failures = [var.nat]
}

run "clients_from_nowhere" {
  command = plan

  variables {
    client_cidrs = []
  }

  expect_failures = [var.client_cidrs]
}

run "clients_from_a_name" {
  command = plan

  variables {
    client_cidrs = ["example.com"]
  }

  expect_failures = [var.client_cidrs]
}

run "tls_init_image_latest" {
  command = plan

  variables {
    tls_init_image = "busybox:latest"
  }

  expect_failures = [var.tls_init_image]
}

run "more_nodes_than_a_cluster_has" {
  command = plan

  variables {
    relay = { mode = "sharded", shards = 50 }
  }

  expect_failures = [var.relay]
}

run "patterns_of_sharded_channels" {
  command = plan

  variables {
    relay = { mode = "sharded", patterns = true }
  }

  expect_failures = [var.relay]
}

run "valkey_of_another_family" {
  command = plan

  variables {
    relay = { engine_version = "7.2" }
  }

  expect_failures = [var.relay]
}

run "snapshots_for_too_long" {
  command = plan

  variables {
    relay = { snapshot_days = 36 }
  }

  expect_failures = [var.relay]
}

run "hmac_secret_without_suffix" {
  command = plan

  variables {
    relay = { hmac_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:hmac" }
  }

  expect_failures = [var.relay]
}

run "backups_for_too_long" {
  command = plan

  variables {
    database = { backup_days = 36 }
  }

  expect_failures = [var.database]
}

run "storage_that_cannot_grow" {
  command = plan

  variables {
    database = { storage_gib = 100, storage_max = 100 }
  }

  expect_failures = [var.database]
}

run "mysql_unknown" {
  command = plan

  variables {
    database = { engine_version = "8.4.5" }
  }

  expect_failures = [var.database]
}

run "mysql_of_five_connections" {
  command = plan

  variables {
    database = { connections_max = 5 }
  }

  expect_failures = [var.database]
}

run "jwt_secret_without_suffix" {
  command = plan

  variables {
    auth = { jwt_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:jwt" }
  }

  expect_failures = [var.auth]
}

run "keys_in_the_clear" {
  command = plan

  variables {
    auth = { jwks_url = "http://login.example.com/keys" }
  }

  expect_failures = [var.auth]
}

run "origin_with_a_path" {
  command = plan

  variables {
    origins = ["https://app.example.com/chat"]
  }

  expect_failures = [var.origins]
}

run "setting_that_is_none" {
  command = plan

  variables {
    settings = { MESSAGE_BYTES = "1" }
  }

  expect_failures = [var.settings]
}

run "setting_that_alarms_follow" {
  command = plan

  variables {
    settings = { "limits.connections" = "50000" }
  }

  expect_failures = [var.settings]
}

run "secret_among_settings" {
  command = plan

  variables {
    settings = { "admin.token" = "secret" }
  }

  expect_failures = [var.settings]
}

run "secret_setting_that_is_none" {
  command = plan

  variables {
    secret_settings = { TOKEN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:it-AbCdEf" }
  }

  expect_failures = [var.secret_settings]
}

run "secret_setting_without_suffix" {
  command = plan

  variables {
    secret_settings = { "admin.token" = "arn:aws:secretsmanager:us-east-1:123456789012:secret:it" }
  }

  expect_failures = [var.secret_settings]
}

run "secret_setting_with_a_variable_of_its_own" {
  command = plan

  variables {
    secret_settings = { "relay.password" = "arn:aws:secretsmanager:us-east-1:123456789012:secret:it-AbCdEf" }
  }

  expect_failures = [var.secret_settings]
}

run "mail_to_nobody" {
  command = plan

  variables {
    alarm_emails = { page = ["on-call"] }
  }

  expect_failures = [var.alarm_emails]
}

run "firewall_that_stops_everybody" {
  command = plan

  variables {
    firewall = { rate_limit = 1 }
  }

  expect_failures = [var.firewall]
}

run "access_logs_for_no_day" {
  command = plan

  variables {
    access_logs_days = 0
  }

  expect_failures = [var.access_logs_days]
}

run "key_by_its_alias" {
  command = plan

  variables {
    kms_key_arn = "arn:aws:kms:us-east-1:123456789012:alias/ringway"
  }

  expect_failures = [var.kms_key_arn]
}

run "key_of_secrets_by_its_alias" {
  command = plan

  variables {
    secrets_kms_key_arns = ["alias/secrets"]
  }

  expect_failures = [var.secrets_kms_key_arns]
}

# TLS in the task, behind a network load balancer.

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
  image          = "123456789012.dkr.ecr.us-east-1.amazonaws.com/ringway:0.1.0"
  tls_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tls-AbCdEf"
  auth           = { jwks_url = "https://login.example.com/keys" }
  balancer       = "nlb"
}

run "nlb" {
  command = apply

  assert {
    condition     = aws_lb.main.load_balancer_type == "network"
    error_message = "It must be an nlb."
  }

  assert {
    condition     = aws_lb_target_group.nlb[0].proxy_protocol_v2 && local.settings["server.proxy_protocol"] == "required"
    error_message = "The PROXY header must be sent, and the server must read it."
  }

  assert {
    condition     = aws_lb_target_group.nlb[0].connection_termination
    error_message = "Sockets must not outlive their deregistration."
  }

  assert {
    condition     = 2 * 25 < aws_lb_listener.tcp[0].tcp_idle_timeout_seconds
    error_message = "The idle timeout must be more than two heart-beats."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.main.container_definitions)[0].portMappings[0].containerPort == 8443
    error_message = "TLS has its own port."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.main.container_definitions)[0].dependsOn[0] == { containerName = "tls", condition = "SUCCESS" } && !jsondecode(aws_ecs_task_definition.main.container_definitions)[1].essential
    error_message = "The certificate must be there first."
  }

  assert {
    condition     = length([for it in jsondecode(aws_ecs_task_definition.main.container_definitions) : it if contains(keys(it), "systemControls")]) == 1
    error_message = "Kernel settings stand on one container only."
  }

  assert {
    condition     = length(aws_wafv2_web_acl.main) == 0 && length(aws_lb_listener.redirect) == 0
    error_message = "An nlb has neither firewall nor redirect."
  }

  assert {
    condition     = contains(keys(aws_cloudwatch_metric_alarm.main), "nlb-resets") && !contains(keys(aws_cloudwatch_metric_alarm.main), "alb-5xx")
    error_message = "Alarms must be those of the balancer."
  }

  assert {
    condition     = local.settings_wanted["server.proxy_protocol"] == "required" && local.settings_wanted["server.trusted_proxies"] == null
    error_message = "Only the PROXY header is believed."
  }
}

run "nlb_on_ec2" {
  command = apply

  variables {
    compute = "ec2"
  }

  assert {
    condition     = length(aws_launch_template.hosts) == 1 && length(aws_lb_target_group.nlb) == 1
    error_message = "The variants must go together."
  }
}

run "nlb_on_managed_instances" {
  command = apply

  variables {
    compute = "managed_instances"
  }

  assert {
    condition     = length(aws_ecs_capacity_provider.managed) == 1 && length(aws_lb_target_group.nlb) == 1
    error_message = "The variants must go together."
  }
}

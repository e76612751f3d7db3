# The default: Fargate behind an application load balancer, in a VPC of its own.

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

run "network" {
  command = apply

  assert {
    condition     = length(aws_subnet.public) == 2 && length(aws_subnet.private) == 2
    error_message = "There must be two zones."
  }

  assert {
    condition     = length(aws_nat_gateway.main) == 2
    error_message = "No zone may depend on another one for its way out."
  }

  assert {
    condition     = length(distinct(concat(aws_subnet.public[*].cidr_block, aws_subnet.private[*].cidr_block))) == 4
    error_message = "Subnets must not overlap."
  }
}

run "balancer" {
  command = apply

  assert {
    condition     = aws_lb.main.load_balancer_type == "application"
    error_message = "It must be an alb."
  }

  assert {
    condition     = 2 * 25 < aws_lb.main.idle_timeout
    error_message = "The idle timeout must be more than two heart-beats."
  }

  assert {
    condition     = aws_lb_listener.https[0].protocol == "HTTPS" && startswith(aws_lb_listener.https[0].ssl_policy, "ELBSecurityPolicy-TLS13-1-2")
    error_message = "TLS 1.2 or 1.3 only."
  }

  assert {
    condition     = aws_lb_listener.redirect[0].default_action[0].redirect[0].protocol == "HTTPS"
    error_message = "Port 80 must redirect."
  }

  assert {
    condition     = aws_lb_target_group.alb[0].health_check[0].path == "/actuator/health/readiness"
    error_message = "Health must be the readiness, which does not fall with Redis."
  }

  assert {
    condition     = !aws_lb_target_group.alb[0].stickiness[0].enabled
    error_message = "A cookie would pin reconnects to the old task."
  }

  assert {
    condition     = aws_lb_target_group.alb[0].load_balancing_algorithm_type == "round_robin"
    error_message = "Open sockets may not be seen as outstanding requests."
  }

  assert {
    condition     = aws_lb_target_group.alb[0].deregistration_delay <= 60
    error_message = "The drain begins only after the delay."
  }

  assert {
    condition     = length(aws_wafv2_web_acl.main) == 1 && length(aws_wafv2_web_acl_association.main) == 1
    error_message = "The firewall must stand before the alb."
  }

  assert {
    condition     = toset([for it in aws_wafv2_web_acl_logging_configuration.main[0].redacted_fields : it.single_header[0].name if 0 < length(it.single_header)]) == toset(["authorization", "cookie", "sec-websocket-protocol"])
    error_message = "No token may be logged, wherever it travels."
  }
}

run "task" {
  command = apply

  assert {
    condition     = aws_ecs_task_definition.main.requires_compatibilities == toset(["FARGATE"])
    error_message = "It must be made for Fargate."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.main.container_definitions)[0].stopTimeout == 120
    error_message = "All of the time that Fargate gives."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.main.container_definitions)[0].readonlyRootFilesystem && jsondecode(aws_ecs_task_definition.main.container_definitions)[0].user == "65532:65532"
    error_message = "Nothing is written, and by nobody."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.main.container_definitions)[0].healthCheck.command == ["CMD", "/usr/local/bin/ringway", "healthcheck"]
    error_message = "The image has no shell and no curl."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.main.container_definitions)[0].ulimits[0].name == "nofile" && 20000 + 1000 <= jsondecode(aws_ecs_task_definition.main.container_definitions)[0].ulimits[0].hardLimit
    error_message = "There must be files for all connections."
  }

  assert {
    condition     = length(jsondecode(aws_ecs_task_definition.main.container_definitions)[0].ulimits) == 1
    error_message = "Fargate keeps its own limit of locked memory."
  }

  assert {
    condition     = one([for it in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment : it.value if it.name == "RINGWAY_IO_DRIVER"]) == "auto"
    error_message = "Fargate denies io_uring, so the driver must be left to the program."
  }

  assert {
    condition     = one([for it in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment : it.value if it.name == "RINGWAY_LIMITS_CONNECTIONS"]) == "20000"
    error_message = "The program must know its limit."
  }

  assert {
    condition     = startswith(one([for it in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment : it.value if it.name == "REDIS_URL"]), "rediss://")
    error_message = "Redis must be reached over TLS."
  }

  assert {
    condition     = !anytrue([for it in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment : can(regex("PASSWORD|SECRET|TOKEN", it.name))])
    error_message = "Secrets are no environment."
  }

  assert {
    condition     = length([for key in local.later.settings : key if contains(keys(local.settings), key)]) == 0
    error_message = "What the program does not have must not be set: it would not start."
  }
}

run "service" {
  command = apply

  assert {
    condition     = aws_ecs_service.main.availability_zone_rebalancing == "DISABLED"
    error_message = "Rebalancing ends healthy tasks."
  }

  assert {
    condition     = aws_ecs_service.main.deployment_circuit_breaker[0].enable && aws_ecs_service.main.deployment_circuit_breaker[0].rollback
    error_message = "A bad image must be rolled back."
  }

  assert {
    condition     = aws_ecs_service.main.deployment_minimum_healthy_percent == 100 && aws_ecs_service.main.deployment_maximum_percent == 150
    error_message = "New tasks first."
  }

  assert {
    condition     = !aws_ecs_service.main.enable_execute_command
    error_message = "Exec needs a shell and a writable root."
  }

  assert {
    condition     = !aws_ecs_service.main.network_configuration[0].assign_public_ip
    error_message = "Tasks are private."
  }

  assert {
    condition     = length(aws_launch_template.hosts) == 0 && length(aws_ecs_capacity_provider.managed) == 0
    error_message = "Fargate has no hosts of ours."
  }
}

run "reach" {
  command = apply

  assert {
    condition     = aws_vpc_security_group_ingress_rule.tasks_from_balancer.referenced_security_group_id == aws_security_group.balancer.id
    error_message = "Only the load balancer reaches tasks."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.relay_from_tasks.referenced_security_group_id == aws_security_group.tasks.id
    error_message = "Only tasks reach Redis."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.balancer_from_clients : rule.from_port]) == toset([80, 443])
    error_message = "Clients reach 80 and 443."
  }
}

run "relay" {
  command = apply

  assert {
    condition     = aws_elasticache_replication_group.main.multi_az_enabled && aws_elasticache_replication_group.main.automatic_failover_enabled && aws_elasticache_replication_group.main.num_cache_clusters == 2
    error_message = "Redis must survive a zone."
  }

  assert {
    condition     = aws_elasticache_replication_group.main.transit_encryption_mode == "required" && aws_elasticache_replication_group.main.at_rest_encryption_enabled
    error_message = "Redis is encrypted, on the way and at rest."
  }

  assert {
    condition     = alltrue([for part in ["resetchannels", "&ws:*", "&ringway:*", "-@all"] : strcontains(aws_elasticache_user.relay.access_string, part)])
    error_message = "The user may do what Ringway does, and no more."
  }

  assert {
    condition     = !can(regex("@|allchannels|psubscribe", replace(aws_elasticache_user.relay.access_string, "-@all", "")))
    error_message = "No category of commands, no channel of others, no pattern that nobody asked for."
  }

  assert {
    condition     = !contains([for it in aws_elasticache_parameter_group.relay.parameter : it.name], "hz")
    error_message = "hz is not among the parameters that ElastiCache has."
  }

  assert {
    condition     = one([for it in aws_elasticache_parameter_group.relay.parameter : it.value if it.name == "timeout"]) == "0"
    error_message = "A timeout would end connections that publish seldom."
  }
}

run "scaling_and_alarms" {
  command = apply

  assert {
    condition     = one(one(aws_appautoscaling_policy.connections.target_tracking_scaling_policy_configuration).customized_metric_specification).metric_name == "websocket.connections.active"
    error_message = "It must scale on connections."
  }

  assert {
    condition     = one(one(one(aws_appautoscaling_policy.connections.target_tracking_scaling_policy_configuration).customized_metric_specification).dimensions).value == var.name
    error_message = "The policy must name the dimension that the metric has."
  }

  assert {
    condition     = one(aws_appautoscaling_policy.cpu.target_tracking_scaling_policy_configuration).disable_scale_in
    error_message = "A quiet moment is no reason to end tasks."
  }

  assert {
    condition     = aws_cloudwatch_log_group.insights.name == "/aws/ecs/containerinsights/${aws_ecs_cluster.main.name}/performance" && 0 < aws_cloudwatch_log_group.insights.retention_in_days
    error_message = "What Container Insights logs is not kept for ever."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.main["tasks-silent"].treat_missing_data == "breaching"
    error_message = "A fleet that is gone says nothing."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.main["connections-high"].statistic == "Maximum" && aws_cloudwatch_metric_alarm.main["connections-high"].threshold == 16000
    error_message = "The fullest task counts, not the average."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.main : length(alarm.alarm_actions) == 1])
    error_message = "An alarm must reach somebody."
  }

  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.main.dashboard_body).widgets) == 13
    error_message = "The dashboard must have its widgets."
  }

  assert {
    condition     = length(aws_db_instance.history) == 0
    error_message = "There is no MySQL until it is asked for."
  }
}

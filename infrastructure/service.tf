# The cluster and the service.

resource "aws_ecs_cluster" "main" {
  name       = var.name
  tags       = var.tags
  depends_on = [aws_cloudwatch_log_group.insights]

  setting {
    name  = "containerInsights"
    value = "enhanced"
  }
}

locals {
  capacity_provider = {
    fargate           = "FARGATE"
    ec2               = var.compute == "ec2" ? aws_ecs_capacity_provider.hosts[0].name : ""
    managed_instances = var.compute == "managed_instances" ? aws_ecs_capacity_provider.managed[0].name : ""
  }[var.compute]
}

resource "aws_ecs_cluster_capacity_providers" "main" {
  cluster_name       = aws_ecs_cluster.main.name
  capacity_providers = [local.capacity_provider]

  default_capacity_provider_strategy {
    capacity_provider = local.capacity_provider
    weight            = 1
  }
}

resource "aws_ecs_service" "main" {
  name            = var.name
  cluster         = aws_ecs_cluster.main.id
  task_definition = aws_ecs_task_definition.main.arn
  desired_count   = var.tasks.min

  # LATEST, so that AWS's patches arrive; the program asks for nothing of a particular version.
  platform_version = var.compute == "fargate" ? "LATEST" : null

  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 150
  health_check_grace_period_seconds  = 60
  # Rebalancing would stop healthy tasks, and each stop moves thousands of clients.
  availability_zone_rebalancing = "DISABLED"
  # Exec needs a shell and a writable root; there is neither.
  enable_execute_command  = false
  enable_ecs_managed_tags = true
  propagate_tags          = "SERVICE"
  wait_for_steady_state   = true
  tags                    = var.tags

  capacity_provider_strategy {
    capacity_provider = local.capacity_provider
    weight            = 1
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = local.private_subnet_ids
    security_groups  = [aws_security_group.tasks.id]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = local.target_group_arn
    container_name   = local.container.name
    container_port   = local.port
  }

  dynamic "ordered_placement_strategy" {
    for_each = var.compute == "ec2" ? ["attribute:ecs.availability-zone", "instanceId"] : []

    content {
      type  = "spread"
      field = ordered_placement_strategy.value
    }
  }

  # One task, with a ring per core, to a host.
  dynamic "placement_constraints" {
    for_each = var.compute == "ec2" ? [1] : []

    content {
      type = "distinctInstance"
    }
  }

  lifecycle {
    # Autoscaling's.
    ignore_changes = [desired_count]
  }

  depends_on = [
    aws_ecs_cluster_capacity_providers.main,
    aws_iam_role_policy.execution,
    aws_lb_listener.https,
    aws_lb_listener.tcp,
    aws_vpc_security_group_egress_rule.tasks_to_https,
    aws_vpc_security_group_egress_rule.tasks_to_relay,
    aws_vpc_security_group_ingress_rule.relay_from_tasks,
    aws_vpc_security_group_ingress_rule.tasks_from_balancer,
  ]
}

# Who reaches whom: clients the load balancer, the load balancer the tasks, the tasks Redis and MySQL. No more.

resource "aws_security_group" "balancer" {
  name_prefix = "${var.name}-balancer-"
  description = "Load balancer of ${var.name}: from clients, to tasks"
  vpc_id      = local.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-balancer" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "tasks" {
  name_prefix = "${var.name}-tasks-"
  description = "Tasks of ${var.name}: from the load balancer, to Redis, MySQL and HTTPS"
  vpc_id      = local.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-tasks" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "relay" {
  name_prefix = "${var.name}-relay-"
  description = "Redis of ${var.name}: from tasks"
  vpc_id      = local.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-relay" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "history" {
  count       = var.database.enabled ? 1 : 0
  name_prefix = "${var.name}-history-"
  description = "MySQL of ${var.name}: from tasks"
  vpc_id      = local.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-history" })

  lifecycle {
    create_before_destroy = true
  }
}

locals {
  # Port 80 only answers with a redirect, which an nlb cannot.
  client_ports = var.balancer == "alb" ? [80, 443] : [443]
  client_rules = { for pair in setproduct(local.client_ports, var.client_cidrs) : join("-", pair) => pair }
}

resource "aws_vpc_security_group_ingress_rule" "balancer_from_clients" {
  for_each          = local.client_rules
  security_group_id = aws_security_group.balancer.id
  description       = "Clients"
  ip_protocol       = "tcp"
  from_port         = each.value[0]
  to_port           = each.value[0]
  cidr_ipv4         = each.value[1]
  tags              = var.tags
}

resource "aws_vpc_security_group_egress_rule" "balancer_to_tasks" {
  security_group_id            = aws_security_group.balancer.id
  description                  = "Connections and health checks"
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  referenced_security_group_id = aws_security_group.tasks.id
  tags                         = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "tasks_from_balancer" {
  security_group_id            = aws_security_group.tasks.id
  description                  = "Connections and health checks"
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  referenced_security_group_id = aws_security_group.balancer.id
  tags                         = var.tags
}

resource "aws_vpc_security_group_egress_rule" "tasks_to_relay" {
  security_group_id            = aws_security_group.tasks.id
  description                  = "Redis"
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
  referenced_security_group_id = aws_security_group.relay.id
  tags                         = var.tags
}

resource "aws_vpc_security_group_egress_rule" "tasks_to_history" {
  count                        = var.database.enabled ? 1 : 0
  security_group_id            = aws_security_group.tasks.id
  description                  = "MySQL"
  ip_protocol                  = "tcp"
  from_port                    = 3306
  to_port                      = 3306
  referenced_security_group_id = aws_security_group.history[0].id
  tags                         = var.tags
}

# ECR, CloudWatch Logs, Secrets Manager and the key set of the identity provider have no fixed addresses.
resource "aws_vpc_security_group_egress_rule" "tasks_to_https" {
  security_group_id = aws_security_group.tasks.id
  description       = "AWS services and the identity provider"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
  tags              = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "relay_from_tasks" {
  security_group_id            = aws_security_group.relay.id
  description                  = "Redis"
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
  referenced_security_group_id = aws_security_group.tasks.id
  tags                         = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "history_from_tasks" {
  count                        = var.database.enabled ? 1 : 0
  security_group_id            = aws_security_group.history[0].id
  description                  = "MySQL"
  ip_protocol                  = "tcp"
  from_port                    = 3306
  to_port                      = 3306
  referenced_security_group_id = aws_security_group.tasks.id
  tags                         = var.tags
}

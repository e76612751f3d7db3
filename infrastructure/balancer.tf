# The load balancer: an alb that ends TLS, or an nlb that passes it through to the task.

locals {
  # `starting` and `draining` answer 503, Redis or MySQL away and `full` do not: a failover must not replace the fleet.
  health_path = "/actuator/health/readiness"
}

resource "aws_lb" "main" {
  #checkov:skip=CKV2_AWS_76:AWSManagedRulesKnownBadInputsRuleSet, which has the rule, is in firewall.tf; the check does not follow it
  name                       = "${var.name}-${var.balancer}"
  load_balancer_type         = var.balancer == "alb" ? "application" : "network"
  subnets                    = local.public_subnet_ids
  security_groups            = [aws_security_group.balancer.id]
  enable_deletion_protection = var.deletion_protection
  tags                       = var.tags

  # A zone without tasks must not lose the connections that its address gets.
  enable_cross_zone_load_balancing = true

  # The heart-beat of 25 s keeps a connection; this only decides how long a dead one is kept.
  idle_timeout               = var.balancer == "alb" ? var.idle_timeout : null
  client_keep_alive          = var.balancer == "alb" ? 3600 : null
  drop_invalid_header_fields = var.balancer == "alb" ? true : null
  desync_mitigation_mode     = var.balancer == "alb" ? "defensive" : null
  xff_header_processing_mode = var.balancer == "alb" ? "append" : null

  access_logs {
    bucket  = aws_s3_bucket.access_logs.id
    prefix  = var.balancer
    enabled = true
  }

  depends_on = [aws_s3_bucket_policy.access_logs]
}

resource "aws_lb_target_group" "alb" {
  count       = var.balancer == "alb" ? 1 : 0
  name_prefix = "ws-"
  vpc_id      = local.vpc_id
  target_type = "ip"
  port        = local.port
  protocol    = "HTTP"
  # An upgrade to WebSocket is HTTP/1.1.
  protocol_version     = "HTTP1"
  deregistration_delay = var.deregistration_delay
  # An open WebSocket may not count as an outstanding request, so the algorithm by that could send all to one task.
  load_balancing_algorithm_type = "round_robin"
  tags                          = var.tags

  # A connection stays with its task anyway. A cookie would send reconnects back to the old, full or draining one.
  stickiness {
    type    = "lb_cookie"
    enabled = false
  }

  health_check {
    path                = local.health_path
    protocol            = "HTTP"
    matcher             = "200"
    interval            = 15
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_target_group" "nlb" {
  count                = var.balancer == "nlb" ? 1 : 0
  name_prefix          = "ws-"
  vpc_id               = local.vpc_id
  target_type          = "ip"
  port                 = local.port
  protocol             = "TCP"
  deregistration_delay = var.deregistration_delay
  tags                 = var.tags

  # The client's address comes in the PROXY header; the server refuses connections without one.
  proxy_protocol_v2  = true
  preserve_client_ip = false
  # Else sockets outlive the deregistration of their task.
  connection_termination = true

  health_check {
    path                = local.health_path
    protocol            = "HTTPS"
    matcher             = "200"
    interval            = 15
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }

  lifecycle {
    create_before_destroy = true
  }
}

locals {
  target_group_arn = var.balancer == "alb" ? aws_lb_target_group.alb[0].arn : aws_lb_target_group.nlb[0].arn
}

resource "aws_lb_listener" "https" {
  count             = var.balancer == "alb" ? 1 : 0
  load_balancer_arn = aws_lb.main.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn
  tags              = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.alb[0].arn
  }
}

resource "aws_lb_listener" "redirect" {
  count             = var.balancer == "alb" ? 1 : 0
  load_balancer_arn = aws_lb.main.arn
  port              = 80
  protocol          = "HTTP"
  tags              = var.tags

  default_action {
    type = "redirect"

    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_lb_listener" "tcp" {
  count                    = var.balancer == "nlb" ? 1 : 0
  load_balancer_arn        = aws_lb.main.arn
  port                     = 443
  protocol                 = "TCP"
  tcp_idle_timeout_seconds = var.idle_timeout
  tags                     = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.nlb[0].arn
  }
}

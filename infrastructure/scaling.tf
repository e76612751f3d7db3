# More tasks when connections or CPU ask for it. New tasks get new connections only: what is open stays where it is.

resource "aws_appautoscaling_target" "main" {
  service_namespace  = "ecs"
  scalable_dimension = "ecs:service:DesiredCount"
  resource_id        = "service/${aws_ecs_cluster.main.name}/${aws_ecs_service.main.name}"
  min_capacity       = var.tasks.min
  max_capacity       = var.tasks.max
  tags               = var.tags
}

# The average is that of a task because each task gives one value per minute. The dimension must be the one that the
# metric has: a policy that names none finds another metric, or nothing.
resource "aws_appautoscaling_policy" "connections" {
  name               = "${var.name}-connections"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.main.service_namespace
  scalable_dimension = aws_appautoscaling_target.main.scalable_dimension
  resource_id        = aws_appautoscaling_target.main.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.tasks.connections_target
    scale_out_cooldown = 60
    # Each task that ends moves its clients: slowly.
    scale_in_cooldown = 600

    customized_metric_specification {
      namespace   = local.metrics_namespace
      metric_name = "websocket.connections.active"
      statistic   = "Average"

      dimensions {
        name  = "Service"
        value = local.metrics_service
      }
    }
  }
}

# Fan-out costs CPU, not connections. A quiet moment is no reason to end tasks, so this one only starts them.
resource "aws_appautoscaling_policy" "cpu" {
  name               = "${var.name}-cpu"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.main.service_namespace
  scalable_dimension = aws_appautoscaling_target.main.scalable_dimension
  resource_id        = aws_appautoscaling_target.main.resource_id

  target_tracking_scaling_policy_configuration {
    target_value       = var.tasks.cpu_target_percent
    scale_out_cooldown = 60
    disable_scale_in   = true

    predefined_metric_specification {
      predefined_metric_type = "ECSServiceAverageCPUUtilization"
    }
  }
}

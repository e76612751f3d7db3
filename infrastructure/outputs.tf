output "url" {
  description = "Where clients connect, by the load balancer's own name; the certificate is for yours."
  value       = "wss://${aws_lb.main.dns_name}/ws"
}

output "dns_name" {
  description = "Name of the load balancer, for an alias record."
  value       = aws_lb.main.dns_name
}

output "zone_id" {
  description = "Zone of the load balancer's name, for an alias record."
  value       = aws_lb.main.zone_id
}

output "cluster_name" {
  description = "The ECS cluster."
  value       = aws_ecs_cluster.main.name
}

output "service_name" {
  description = "The ECS service."
  value       = aws_ecs_service.main.name
}

output "task_definition_arn" {
  description = "The revision that runs, to roll back to."
  value       = aws_ecs_task_definition.main.arn
}

output "repository_url" {
  description = "Where images are pushed."
  value       = aws_ecr_repository.main.repository_url
}

output "relay_host" {
  description = "Redis: its primary, or its configuration endpoint where it is sharded."
  value       = local.relay_host
}

output "database_host" {
  description = "MySQL, where there is one."
  value       = one(aws_db_instance.history[*].address)
}

output "database_secret_arn" {
  description = "User and password of the program in MySQL; the user is created by hand once, see docs/runbook.md."
  value       = one(aws_secretsmanager_secret.history[*].arn)
}

output "task_security_group_id" {
  description = "Group of the tasks, for what else they are to reach."
  value       = aws_security_group.tasks.id
}

output "relay_security_group_id" {
  description = "Group of Redis, for back ends that publish."
  value       = aws_security_group.relay.id
}

output "alarm_topic_arns" {
  description = "Topics `page` and `ticket`."
  value       = { for name, topic in aws_sns_topic.alarms : name => topic.arn }
}

output "dashboard_name" {
  description = "The CloudWatch dashboard."
  value       = aws_cloudwatch_dashboard.main.dashboard_name
}

output "settings_left_out" {
  description = "Settings that are wanted but that this version of the program does not have yet."
  value = sort([
    for key, value in local.settings_wanted : key
    if value != null && contains(local.later.settings, key)
  ])
}

# The dashboard: what clients feel on top, what it costs below.

locals {
  own_metric = { for name in [
    "websocket.connections.active", "websocket.handshakes", "websocket.connection.errors", "websocket.heartbeat",
    "websocket.messages.received", "websocket.messages.sent", "websocket.message.processing.time",
    "websocket.rejected", "websocket.slow.consumers", "websocket.refusals", "websocket.outbox.bytes",
    "websocket.shard.busy", "websocket.relay.down", "websocket.relay.gap", "websocket.relay.refused",
    "websocket.relay.dropped", "websocket.relay.reconnects", "websocket.subscriptions.active",
  ] : name => [local.metrics_namespace, name, "Service", local.metrics_service] }

  of_targets  = ["LoadBalancer", local.targets.LoadBalancer, "TargetGroup", local.targets.TargetGroup]
  of_balancer = ["LoadBalancer", local.targets.LoadBalancer]
  of_service  = ["ClusterName", local.service.ClusterName, "ServiceName", local.service.ServiceName]

  widgets = concat([
    { title = "Connections", stat = "Maximum", metrics = [
      concat(local.own_metric["websocket.connections.active"], [{ stat = "Sum", label = "all tasks" }]),
      concat(local.own_metric["websocket.connections.active"], [{ stat = "Average", label = "per task", yAxis = "right" }]),
      concat(local.own_metric["websocket.connections.active"], [{ stat = "Maximum", label = "fullest task", yAxis = "right" }]),
    ] },
    { title = "Handshakes and errors per minute", stat = "Sum", metrics = [
      local.own_metric["websocket.handshakes"], local.own_metric["websocket.connection.errors"],
    ] },
    { title = "Messages per minute", stat = "Sum", metrics = [
      local.own_metric["websocket.messages.received"], local.own_metric["websocket.messages.sent"],
    ] },
    { title = "Receipt to last local outbox, ms", stat = "p99", metrics = [
      for stat in ["p50", "p95", "p99", "Maximum"] :
      concat(local.own_metric["websocket.message.processing.time"], [{ stat = stat, label = stat }])
    ] },
    { title = "Turned away, refused, closed as slow, per minute", stat = "Sum", metrics = [
      local.own_metric["websocket.rejected"], local.own_metric["websocket.refusals"],
      local.own_metric["websocket.slow.consumers"],
    ] },
    { title = "Subscriptions, and bytes that wait for clients", stat = "Sum", metrics = [
      local.own_metric["websocket.subscriptions.active"],
      concat(local.own_metric["websocket.outbox.bytes"], [{ yAxis = "right" }]),
    ] },
    { title = "Relay: cores without Redis, gap, refused, dropped", stat = "Sum", metrics = [
      concat(local.own_metric["websocket.relay.down"], [{ stat = "Maximum" }]),
      local.own_metric["websocket.relay.gap"], local.own_metric["websocket.relay.refused"],
      local.own_metric["websocket.relay.dropped"], local.own_metric["websocket.relay.reconnects"],
    ] },
    { title = "Busiest core, %", stat = "Maximum", metrics = [local.own_metric["websocket.shard.busy"]] },
    { title = "Tasks", stat = "Minimum", metrics = [
      concat([local.balancer_namespace, "HealthyHostCount"], local.of_targets),
      concat([local.balancer_namespace, "UnHealthyHostCount"], local.of_targets, [{ stat = "Maximum" }]),
      concat(local.own_metric["websocket.heartbeat"], [{ stat = "Sum", label = "tasks that report" }]),
    ] },
    { title = "CPU and memory, %", stat = "Average", metrics = [
      concat(["AWS/ECS", "CPUUtilization"], local.of_service),
      concat(["AWS/ECS", "CPUUtilization"], local.of_service, [{ stat = "Maximum", label = "CPU of the busiest task" }]),
      concat(["AWS/ECS", "MemoryUtilization"], local.of_service),
    ] },
    { title = "Redis: CPU, %", stat = "Average", metrics = [
      for node in local.relay_nodes : ["AWS/ElastiCache", "EngineCPUUtilization", "CacheClusterId", node]
    ] },
    { title = "Redis: connections and bytes out", stat = "Sum", metrics = concat(
      [for node in local.relay_nodes : ["AWS/ElastiCache", "CurrConnections", "CacheClusterId", node, { stat = "Average" }]],
      [for node in local.relay_nodes : ["AWS/ElastiCache", "NetworkBytesOut", "CacheClusterId", node, { yAxis = "right" }]],
    ) },
    ],
    [for widget in [
      { title = "Load balancer", stat = "Sum", metrics = [
        concat([local.balancer_namespace, "NewConnectionCount"], local.of_balancer),
        concat([local.balancer_namespace, "ActiveConnectionCount"], local.of_balancer, [{ yAxis = "right" }]),
        concat([local.balancer_namespace, "RejectedConnectionCount"], local.of_balancer),
        concat([local.balancer_namespace, "HTTPCode_Target_5XX_Count"], local.of_targets),
        concat([local.balancer_namespace, "ConsumedLCUs"], local.of_balancer, [{ yAxis = "right" }]),
      ] },
    ] : widget if var.balancer == "alb"],
    [for widget in [
      { title = "Load balancer", stat = "Sum", metrics = [
        concat([local.balancer_namespace, "NewFlowCount"], local.of_balancer),
        concat([local.balancer_namespace, "ActiveFlowCount"], local.of_balancer, [{ stat = "Average", yAxis = "right" }]),
        concat([local.balancer_namespace, "TCP_Target_Reset_Count"], local.of_balancer),
        concat([local.balancer_namespace, "ConsumedLCUs"], local.of_balancer, [{ yAxis = "right" }]),
      ] },
    ] : widget if var.balancer == "nlb"],
    [for widget in [
      { title = "MySQL", stat = "Average", metrics = [
        ["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", local.database.DBInstanceIdentifier],
        ["AWS/RDS", "DatabaseConnections", "DBInstanceIdentifier", local.database.DBInstanceIdentifier],
        ["AWS/RDS", "WriteLatency", "DBInstanceIdentifier", local.database.DBInstanceIdentifier, { yAxis = "right" }],
      ] },
    ] : widget if var.database.enabled],
  )
}

resource "aws_cloudwatch_dashboard" "main" {
  dashboard_name = var.name

  # Widgets are of different shapes, which a list of Terraform does not take: each is made to text first.
  dashboard_body = "{\"widgets\":[${join(",", [
    for index, widget in local.widgets : jsonencode({
      type   = "metric"
      x      = index % 2 * 12
      y      = floor(index / 2) * 6
      width  = 12
      height = 6
      properties = {
        title   = widget.title
        region  = local.region
        view    = "timeSeries"
        period  = 60
        stat    = widget.stat
        metrics = widget.metrics
        yAxis   = { left = { min = 0 }, right = { min = 0 } }
      }
    })
  ])}]}"
}

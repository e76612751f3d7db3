# Alarms: `page` when users are hurt or soon will be, `ticket` when somebody should look. docs/runbook.md has a
# section for each, under the name that stands here.

locals {
  own      = { Service = local.metrics_service }
  service  = { ClusterName = aws_ecs_cluster.main.name, ServiceName = aws_ecs_service.main.name }
  balancer = { LoadBalancer = aws_lb.main.arn_suffix }
  targets = {
    LoadBalancer = aws_lb.main.arn_suffix
    TargetGroup  = var.balancer == "alb" ? aws_lb_target_group.alb[0].arn_suffix : aws_lb_target_group.nlb[0].arn_suffix
  }
  balancer_namespace = var.balancer == "alb" ? "AWS/ApplicationELB" : "AWS/NetworkELB"

  # The ids that ElastiCache gives to the nodes of a replication group.
  nodes_per_shard = 1 + var.relay.replicas_per_shard
  relay_nodes = (local.is_sharded
    ? [
      for pair in setproduct(range(1, var.relay.shards + 1), range(1, local.nodes_per_shard + 1)) :
      format("%s-relay-%04d-%03d", var.name, pair[0], pair[1])
    ]
    : [for node in range(1, local.nodes_per_shard + 1) : format("%s-relay-%03d", var.name, node)]
  )

  # Period is 60 s throughout; `of` is how many of them, `out_of` how many are looked at.
  alarms_common = {
    connections-high = {
      to        = "page", about = "A task has 80 % of the connections that it takes"
      namespace = local.metrics_namespace, metric = "websocket.connections.active", dimensions = local.own
      # The fullest task, not the average: it is the one that turns clients away.
      statistic = "Maximum", compare = ">", threshold = 0.8 * var.connections_max
      of        = 3, out_of = 3, missing = "notBreaching"
    }
    tasks-silent = {
      to        = "page", about = "Fewer tasks report than there must be"
      namespace = local.metrics_namespace, metric = "websocket.heartbeat", dimensions = local.own
      # A fleet that is gone says nothing, so silence must count as trouble.
      statistic = "Sum", compare = "<", threshold = var.tasks.min
      of        = 3, out_of = 3, missing = "breaching"
    }
    processing-slow = {
      to        = "ticket", about = "1 % of messages take more than 250 ms from receipt to the last local outbox"
      namespace = local.metrics_namespace, metric = "websocket.message.processing.time", dimensions = local.own
      statistic = "p99", compare = ">", threshold = 250
      of        = 5, out_of = 5, missing = "notBreaching"
    }
    core-busy = {
      to        = "ticket", about = "A core is busy for more than 90 % of the time, whatever the others do"
      namespace = local.metrics_namespace, metric = "websocket.shard.busy", dimensions = local.own
      statistic = "Maximum", compare = ">", threshold = 90
      of        = 5, out_of = 5, missing = "notBreaching"
    }
    slow-consumers = {
      to        = "ticket", about = "A hundred clients a minute are closed because they read too slowly"
      namespace = local.metrics_namespace, metric = "websocket.slow.consumers", dimensions = local.own
      statistic = "Sum", compare = ">", threshold = 100
      of        = 5, out_of = 5, missing = "notBreaching"
    }
    relay-down = {
      to        = "page", about = "A core has no Redis"
      namespace = local.metrics_namespace, metric = "websocket.relay.down", dimensions = local.own
      statistic = "Maximum", compare = ">", threshold = 0
      of        = 2, out_of = 2, missing = "notBreaching"
    }
    relay-gap = {
      to        = "ticket", about = "Redis was away and is back; messages of others were missed"
      namespace = local.metrics_namespace, metric = "websocket.relay.gap", dimensions = local.own
      statistic = "Sum", compare = ">", threshold = 0
      of        = 1, out_of = 1, missing = "notBreaching"
    }
    relay-refuses = {
      to        = "page", about = "Messages of clients are refused because Redis does not take them"
      namespace = local.metrics_namespace, metric = "websocket.relay.refused", dimensions = local.own
      statistic = "Sum", compare = ">", threshold = 0
      of        = 2, out_of = 3, missing = "notBreaching"
    }
    relay-drops = {
      to        = "ticket", about = "Messages from Redis are not what they should be"
      namespace = local.metrics_namespace, metric = "websocket.relay.dropped", dimensions = local.own
      statistic = "Sum", compare = ">", threshold = 0
      of        = 5, out_of = 5, missing = "notBreaching"
    }
    targets-few = {
      to        = "page", about = "Fewer healthy tasks than there must be"
      namespace = local.balancer_namespace, metric = "HealthyHostCount", dimensions = local.targets
      statistic = "Minimum", compare = "<", threshold = var.tasks.min
      of        = 3, out_of = 3, missing = "breaching"
    }
    targets-unhealthy = {
      to        = "ticket", about = "A task does not pass its health check"
      namespace = local.balancer_namespace, metric = "UnHealthyHostCount", dimensions = local.targets
      statistic = "Maximum", compare = ">", threshold = 0
      of        = 2, out_of = 3, missing = "notBreaching"
    }
    cpu-high = {
      to        = "ticket", about = "The service uses 85 % of its CPU"
      namespace = "AWS/ECS", metric = "CPUUtilization", dimensions = local.service
      statistic = "Average", compare = ">", threshold = 85
      of        = 5, out_of = 5, missing = "notBreaching"
    }
    memory-high = {
      to        = "page", about = "A task uses 85 % of its memory"
      namespace = "AWS/ECS", metric = "MemoryUtilization", dimensions = local.service
      statistic = "Maximum", compare = ">", threshold = 85
      of        = 3, out_of = 5, missing = "notBreaching"
    }
    tasks-at-max = {
      to        = "ticket", about = "As many tasks run as are allowed: there is no room to grow"
      namespace = "ECS/ContainerInsights", metric = "RunningTaskCount", dimensions = local.service
      statistic = "Maximum", compare = ">=", threshold = var.tasks.max
      of        = 10, out_of = 10, missing = "notBreaching"
    }
  }

  alarms_alb = {
    alb-rejects = {
      to        = "page", about = "The load balancer has no room for connections"
      namespace = local.balancer_namespace, metric = "RejectedConnectionCount", dimensions = local.balancer
      statistic = "Sum", compare = ">", threshold = 0
      of        = 1, out_of = 1, missing = "notBreaching"
    }
    alb-cannot-connect = {
      to        = "ticket", about = "The load balancer cannot connect to tasks"
      namespace = local.balancer_namespace, metric = "TargetConnectionErrorCount", dimensions = local.targets
      statistic = "Sum", compare = ">", threshold = 10
      of        = 3, out_of = 5, missing = "notBreaching"
    }
    alb-5xx = {
      to        = "ticket", about = "The load balancer itself answers with errors"
      namespace = local.balancer_namespace, metric = "HTTPCode_ELB_5XX_Count", dimensions = local.balancer
      statistic = "Sum", compare = ">", threshold = 50
      of        = 3, out_of = 5, missing = "notBreaching"
    }
    upgrades-refused = {
      to        = "page", about = "Tasks answer upgrades with 503: they are full or end"
      namespace = local.balancer_namespace, metric = "HTTPCode_Target_5XX_Count", dimensions = local.targets
      statistic = "Sum", compare = ">", threshold = 20
      of        = 3, out_of = 5, missing = "notBreaching"
    }
  }

  alarms_nlb = {
    nlb-ports-used-up = {
      to        = "page", about = "The load balancer has no source ports left for a task"
      namespace = local.balancer_namespace, metric = "PortAllocationErrorCount", dimensions = local.balancer
      statistic = "Sum", compare = ">", threshold = 0
      of        = 1, out_of = 1, missing = "notBreaching"
    }
    nlb-resets = {
      to        = "ticket", about = "Tasks reset many connections"
      namespace = local.balancer_namespace, metric = "TCP_Target_Reset_Count", dimensions = local.balancer
      statistic = "Sum", compare = ">", threshold = 500
      of        = 3, out_of = 5, missing = "notBreaching"
    }
  }

  alarms_relay = merge([
    for node in local.relay_nodes : {
      "redis-cpu-${node}" = {
        to        = "page", about = "The one thread of Redis that does the work is nearly full"
        namespace = "AWS/ElastiCache", metric = "EngineCPUUtilization", dimensions = { CacheClusterId = node }
        statistic = "Average", compare = ">", threshold = 75
        of        = 3, out_of = 5, missing = "notBreaching"
      }
      "redis-memory-${node}" = {
        to        = "page", about = "Redis has little memory left"
        namespace = "AWS/ElastiCache", metric = "DatabaseMemoryUsagePercentage", dimensions = { CacheClusterId = node }
        statistic = "Maximum", compare = ">", threshold = 80
        of        = 3, out_of = 5, missing = "notBreaching"
      }
      "redis-connections-${node}" = {
        to        = "page", about = "Redis has 80 % of the connections that it takes"
        namespace = "AWS/ElastiCache", metric = "CurrConnections", dimensions = { CacheClusterId = node }
        # maxclients is 65,000 on every node, and cannot be changed.
        statistic = "Maximum", compare = ">", threshold = 0.8 * 65000
        of        = 3, out_of = 5, missing = "notBreaching"
      }
      "redis-reconnects-${node}" = {
        to        = "ticket", about = "Tasks connect to Redis again and again"
        namespace = "AWS/ElastiCache", metric = "NewConnections", dimensions = { CacheClusterId = node }
        statistic = "Sum", compare = ">", threshold = 20 * var.tasks.max
        of        = 3, out_of = 5, missing = "notBreaching"
      }
    }
  ]...)

  database = { DBInstanceIdentifier = "${var.name}-history" }
  alarms_history = {
    mysql-cpu = {
      to        = "ticket", about = "MySQL uses 80 % of its CPU"
      namespace = "AWS/RDS", metric = "CPUUtilization", dimensions = local.database
      statistic = "Average", compare = ">", threshold = 80
      of        = 10, out_of = 10, missing = "notBreaching"
    }
    mysql-connections = {
      to        = "ticket", about = "MySQL has 80 % of the connections that it takes"
      namespace = "AWS/RDS", metric = "DatabaseConnections", dimensions = local.database
      statistic = "Maximum", compare = ">", threshold = 0.8 * var.database.connections_max
      of        = 3, out_of = 5, missing = "notBreaching"
    }
    mysql-disk = {
      to        = "page", about = "MySQL has less than a tenth of its disk left"
      namespace = "AWS/RDS", metric = "FreeStorageSpace", dimensions = local.database
      statistic = "Minimum", compare = "<", threshold = 0.1 * var.database.storage_gib * 1024 * 1024 * 1024
      of        = 3, out_of = 3, missing = "breaching"
    }
    mysql-latency = {
      to        = "ticket", about = "A write to MySQL's disk takes more than 20 ms"
      namespace = "AWS/RDS", metric = "WriteLatency", dimensions = local.database
      statistic = "Average", compare = ">", threshold = 0.02
      of        = 5, out_of = 5, missing = "notBreaching"
    }
  }

  alarms = merge(
    local.alarms_common,
    { for name, alarm in local.alarms_alb : name => alarm if var.balancer == "alb" },
    { for name, alarm in local.alarms_nlb : name => alarm if var.balancer == "nlb" },
    local.alarms_relay,
    { for name, alarm in local.alarms_history : name => alarm if var.database.enabled },
  )

  operators = {
    ">"  = "GreaterThanThreshold"
    ">=" = "GreaterThanOrEqualToThreshold"
    "<"  = "LessThanThreshold"
  }
}

resource "aws_cloudwatch_metric_alarm" "main" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = "${each.value.about}. See docs/runbook.md."
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  period              = 60
  comparison_operator = local.operators[each.value.compare]
  threshold           = each.value.threshold
  datapoints_to_alarm = each.value.of
  evaluation_periods  = each.value.out_of
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alarms[each.value.to].arn]
  ok_actions          = [aws_sns_topic.alarms[each.value.to].arn]
  tags                = var.tags
}

# A share, because 100 errors are many at night and few at noon; and only where there is something to share.
resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name}-errors-high"
  alarm_description   = "More than 5 connections end in an error per 100 handshakes. See docs/runbook.md."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 5
  datapoints_to_alarm = 3
  evaluation_periods  = 5
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms["ticket"].arn]
  ok_actions          = [aws_sns_topic.alarms["ticket"].arn]
  tags                = var.tags

  metric_query {
    id          = "share"
    expression  = "IF(handshakes > 100, 100 * errors / handshakes, 0)"
    label       = "Errors per 100 handshakes"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { errors = "websocket.connection.errors", handshakes = "websocket.handshakes" }

    content {
      id = metric_query.key

      metric {
        namespace   = local.metrics_namespace
        metric_name = metric_query.value
        dimensions  = local.own
        period      = 60
        stat        = "Sum"
      }
    }
  }
}

resource "aws_sns_topic" "alarms" {
  for_each          = toset(["page", "ticket"])
  name              = "${var.name}-${each.key}"
  kms_master_key_id = local.kms_key_arn
  tags              = var.tags
}

data "aws_iam_policy_document" "alarms" {
  for_each = aws_sns_topic.alarms

  statement {
    actions   = ["sns:Publish"]
    resources = [each.value.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }

  statement {
    actions   = ["sns:Publish"]
    resources = [each.value.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_cloudwatch_event_rule.deployments.arn]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  for_each = aws_sns_topic.alarms
  arn      = each.value.arn
  policy   = data.aws_iam_policy_document.alarms[each.key].json
}

locals {
  subscriptions = merge([
    for topic, addresses in { page = var.alarm_emails.page, ticket = var.alarm_emails.ticket } :
    { for address in addresses : "${topic} ${address}" => { topic = topic, address = address } }
  ]...)
}

resource "aws_sns_topic_subscription" "alarms" {
  for_each  = local.subscriptions
  topic_arn = aws_sns_topic.alarms[each.value.topic].arn
  protocol  = "email"
  endpoint  = each.value.address
}

# A deployment that fails is rolled back by itself, and then looks as if nothing had happened.
resource "aws_cloudwatch_event_rule" "deployments" {
  name        = "${var.name}-deployment-failed"
  description = "A deployment of ${var.name} failed and was rolled back"
  tags        = var.tags

  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Deployment State Change"]
    resources   = [aws_ecs_service.main.arn]
    detail      = { eventName = ["SERVICE_DEPLOYMENT_FAILED"] }
  })
}

resource "aws_cloudwatch_event_target" "deployments" {
  rule = aws_cloudwatch_event_rule.deployments.name
  arn  = aws_sns_topic.alarms["ticket"].arn
}

# Redis (Valkey) that joins the tasks: one shard with replicas, or cluster mode for relay.mode = "sharded".

locals {
  is_sharded = var.relay.mode == "sharded"
  relay_user = "${var.name}-relay"

  relay_host = (local.is_sharded
    ? aws_elasticache_replication_group.main.configuration_endpoint_address
    : aws_elasticache_replication_group.main.primary_endpoint_address
  )

  # Channels ws:* carry messages, everything else of the program is ringway:*. Just the commands that it sends:
  # docs/relay.md has them. zscan reads what is revoked, the others of z write it (`ringway revoke`); the second row counts
  # the connections of users over all tasks, the next two are what the scripts of the history do.
  relay_access = join(" ", concat(
    ["on", "~ringway:*", "resetchannels"],
    # Redis compares a pattern with a rule letter by letter, so any pattern needs the right to all channels.
    var.relay.patterns ? ["allchannels"] : ["&ws:*", "&ringway:*"],
    ["-@all", "+hello", "+auth", "+ping", "+role", "+xadd", "+zscan", "+zadd", "+zremrangebyscore", "+zremrangebyrank"],
    ["+zrevrange", "+pexpire", "+del", "+hset", "+hdel", "+hmget"],
    ["+eval", "+evalsha", "+info", "+time", "+get", "+set", "+hget", "+hincrby", "+persist", "+zrem", "+zrange"],
    ["+xrange", "+xrevrange", "+xlen", "+xtrim"],
    (local.is_sharded
      ? ["+ssubscribe", "+sunsubscribe", "+spublish", "+cluster|slots", "+asking"]
      : ["+subscribe", "+unsubscribe", "+publish"]
    ),
    var.relay.patterns ? ["+psubscribe", "+punsubscribe"] : [],
  ))
}

resource "aws_elasticache_user" "relay" {
  user_id       = local.relay_user
  user_name     = local.relay_user
  engine        = "valkey"
  access_string = local.relay_access
  tags          = var.tags

  authentication_mode {
    type      = "password"
    passwords = [jsondecode(aws_secretsmanager_secret_version.relay.secret_string).password]
  }
}

resource "aws_elasticache_user_group" "relay" {
  engine        = "valkey"
  user_group_id = local.relay_user
  user_ids      = [aws_elasticache_user.relay.user_id]
  tags          = var.tags
}

resource "aws_elasticache_parameter_group" "relay" {
  name        = "${var.name}-relay${local.is_sharded ? "-cluster" : ""}"
  family      = "valkey8"
  description = "Pub/sub for ${var.name}"
  tags        = var.tags

  dynamic "parameter" {
    for_each = merge({
      # One connection per core carries all that its clients want; the default cuts it off at 8 MiB for 60 s.
      "client-output-buffer-limit-pubsub-hard-limit"   = "268435456"
      "client-output-buffer-limit-pubsub-soft-limit"   = "67108864"
      "client-output-buffer-limit-pubsub-soft-seconds" = "60"
      "tcp-keepalive"                                  = "60"
      # A timeout would end connections that publish seldom. The program pings.
      "timeout" = "0"
    }, local.is_sharded ? { "cluster-enabled" = "yes" } : {})

    content {
      name  = parameter.key
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_subnet_group" "relay" {
  name       = "${var.name}-relay"
  subnet_ids = local.private_subnet_ids
  tags       = var.tags
}

resource "aws_elasticache_replication_group" "main" {
  replication_group_id = "${var.name}-relay"
  description          = "Relay of ${var.name}"
  engine               = "valkey"
  engine_version       = var.relay.engine_version
  node_type            = var.relay.node_type
  port                 = 6379

  num_cache_clusters      = local.is_sharded ? null : 1 + var.relay.replicas_per_shard
  num_node_groups         = local.is_sharded ? var.relay.shards : null
  replicas_per_node_group = local.is_sharded ? var.relay.replicas_per_shard : null

  multi_az_enabled           = true
  automatic_failover_enabled = true
  auto_minor_version_upgrade = false

  at_rest_encryption_enabled = true
  kms_key_id                 = local.kms_key_arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  user_group_ids             = [aws_elasticache_user_group.relay.user_group_id]

  parameter_group_name = aws_elasticache_parameter_group.relay.name
  subnet_group_name    = aws_elasticache_subnet_group.relay.name
  security_group_ids   = [aws_security_group.relay.id]

  snapshot_retention_limit = var.relay.snapshot_days
  snapshot_window          = "03:00-04:00"
  maintenance_window       = "sun:05:00-sun:06:00"
  tags                     = var.tags

  log_delivery_configuration {
    destination      = aws_cloudwatch_log_group.relay.name
    destination_type = "cloudwatch-logs"
    log_format       = "json"
    log_type         = "slow-log"
  }
}

resource "aws_cloudwatch_log_group" "relay" {
  name              = "/${var.name}/relay-slow"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.kms_key_arn
  tags              = var.tags
}

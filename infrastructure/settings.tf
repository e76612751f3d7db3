# What the task is told. Names are the program's own: tests/names.rs compares them with its catalogue.

locals {
  # What this version of the program does not have. It refuses to start with a setting that it does not know, so
  # these are left out of the task; the test fails when one of them arrives, and it is struck from the list.
  later = jsondecode(file("${path.module}/later.json"))

  # The dimension of the program's metrics.
  metrics_service   = var.name
  metrics_namespace = "WebSocketService"

  port = var.balancer == "nlb" ? 8443 : 8080

  # By compute: io_uring is denied on Fargate, allowed by our hosts' profile, and unknown on managed instances. A
  # deployment that should have it must fail rather than run degraded.
  io_driver = { fargate = "auto", ec2 = "io_uring", managed_instances = "auto" }[var.compute]

  settings_wanted = merge({
    "server.listen"          = "0.0.0.0:${local.port}"
    "server.trusted_proxies" = var.balancer == "alb" ? local.vpc_cidr : null
    "server.proxy_protocol"  = var.balancer == "nlb" ? "required" : null
    "tls.cert"               = var.balancer == "nlb" ? "/tls/cert.pem" : null
    "tls.key"                = var.balancer == "nlb" ? "/tls/key.pem" : null
    "io.driver"              = local.io_driver
    "relay.mode"             = var.relay.mode == "sharded" ? "sharded" : null
    "relay.user"             = local.relay_user
    "auth.mode"              = var.auth.off ? "off" : null
    "auth.jwt.issuer"        = var.auth.issuer
    "auth.jwt.audience"      = var.auth.audience
    "auth.jwt.jwks_url"      = var.auth.jwks_url
    "auth.origins"           = length(var.origins) == 0 ? null : join(",", var.origins)
    "limits.connections"     = tostring(var.connections_max)
    "drain.window"           = "${var.drain.window}s"
    "drain.deadline"         = "${var.drain.deadline}s"
    "metrics.emf"            = "true"
    "metrics.service"        = local.metrics_service
    "log.format"             = "json"
  }, var.settings)

  settings = {
    for key, value in local.settings_wanted : key => value
    if value != null && !contains(local.later.settings, key)
  }

  environment = merge(
    { for key, value in local.settings : "RINGWAY_${upper(replace(key, ".", "_"))}" => value },
    { REDIS_URL = "rediss://${local.relay_host}:6379" },
    var.database.enabled ? { DB_HOST = aws_db_instance.history[0].address, DB_NAME = var.database.name } : {},
  )

  # Secrets by their setting; the value is where ECS reads it, with the key within the secret's JSON.
  secret_settings = {
    for key, value in merge({
      "relay.password" = "${aws_secretsmanager_secret.relay.arn}:password::"
      "relay.hmac_key" = var.relay.hmac_secret_arn
    }, var.secret_settings) : key => value
    if value != null && !contains(local.later.settings, key)
  }

  secrets = merge(
    { for key, value in local.secret_settings : "RINGWAY_${upper(replace(key, ".", "_"))}" => value },
    var.auth.jwt_secret_arn == null ? {} : { JWT_SECRET = var.auth.jwt_secret_arn },
    var.database.enabled ? {
      DB_USERNAME = "${aws_secretsmanager_secret.history[0].arn}:username::"
      DB_PASSWORD = "${aws_secretsmanager_secret.history[0].arn}:password::"
    } : {},
  )
}

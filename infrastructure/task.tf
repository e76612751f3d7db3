# The task. ecs-task-definition.json is the same for those who use no Terraform; `./test aws` compares the two.

locals {
  # Kernel settings of the task's network namespace, and limits: of the table that `ringway doctor` reads. Only keys
  # that exist in the namespace: one that does not keeps the task from starting.
  tuning = jsondecode(file("${path.module}/../tuning/fargate.json"))

  # Rings are charged to locked memory; Fargate has no rings, and its default stays.
  ulimits = concat(
    [for it in local.tuning.ulimits : { name = it.name, softLimit = it.softLimit, hardLimit = it.hardLimit }],
    var.compute == "fargate" ? [] : [{ name = "memlock", softLimit = 67108864, hardLimit = 67108864 }],
  )

  log_configuration = {
    logDriver = "awslogs"
    options = {
      "awslogs-group"         = aws_cloudwatch_log_group.tasks.name
      "awslogs-region"        = local.region
      "awslogs-stream-prefix" = "ringway"
      # Metrics are log lines. A full buffer loses lines rather than stop the program, so it is not a small one.
      "mode"            = "non-blocking"
      "max-buffer-size" = "25m"
    }
  }

  container = {
    name                   = "ringway"
    image                  = var.image
    essential              = true
    user                   = "65532:65532"
    readonlyRootFilesystem = true
    # The program ends by drain.deadline; this is the most that Fargate allows.
    stopTimeout  = 120
    startTimeout = 60
    portMappings = [{
      name          = "ws"
      containerPort = local.port
      protocol      = "tcp"
    }]
    environment = [for name in sort(keys(local.environment)) : { name = name, value = local.environment[name] }]
    secrets     = [for name in sort(keys(local.secrets)) : { name = name, valueFrom = local.secrets[name] }]
    ulimits     = local.ulimits
    systemControls = [
      for it in local.tuning.systemControls : { namespace = it.namespace, value = it.value }
    ]
    linuxParameters = {
      capabilities       = { drop = ["ALL"] }
      initProcessEnabled = false
    }
    # Alive means that it serves; Redis and MySQL do not come into it. It asks the admin listener, on loopback.
    healthCheck = {
      command     = ["CMD", "/usr/local/bin/ringway", "healthcheck"]
      interval    = 15
      timeout     = 5
      retries     = 3
      startPeriod = 30
    }
    logConfiguration = local.log_configuration
    mountPoints      = local.tls_mounts
    dependsOn        = var.balancer == "nlb" ? [{ containerName = "tls", condition = "SUCCESS" }] : []
  }

  tls_mounts = var.balancer == "nlb" ? [{ sourceVolume = "tls", containerPath = "/tls", readOnly = true }] : []

  # The program reads certificate and key from files, ECS gives secrets as variables: this one goes between. It ends
  # before the program starts.
  tls_container = {
    name                   = "tls"
    image                  = var.tls_init_image
    essential              = false
    readonlyRootFilesystem = true
    command = ["/bin/sh", "-euc", join(" && ", [
      "umask 077",
      "printf '%s\\n' \"$TLS_CERT\" >/tls/cert.pem",
      "printf '%s\\n' \"$TLS_KEY\" >/tls/key.pem",
      "chown -R 65532:65532 /tls",
    ])]
    secrets = [
      { name = "TLS_CERT", valueFrom = "${coalesce(var.tls_secret_arn, "none")}:certificate::" },
      { name = "TLS_KEY", valueFrom = "${coalesce(var.tls_secret_arn, "none")}:private_key::" },
    ]
    mountPoints      = [{ sourceVolume = "tls", containerPath = "/tls", readOnly = false }]
    logConfiguration = local.log_configuration
  }

  containers = concat(
    [jsonencode(local.container)],
    var.balancer == "nlb" ? [jsonencode(local.tls_container)] : [],
  )
}

resource "aws_ecs_task_definition" "main" {
  family                   = var.name
  requires_compatibilities = [{ fargate = "FARGATE", ec2 = "EC2", managed_instances = "MANAGED_INSTANCES" }[var.compute]]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions    = "[${join(",", local.containers)}]"
  # A revision that is taken out of service cannot be rolled back to.
  skip_destroy = true
  tags         = var.tags

  runtime_platform {
    cpu_architecture        = var.architecture
    operating_system_family = "LINUX"
  }

  dynamic "volume" {
    for_each = var.balancer == "nlb" ? ["tls"] : []

    content {
      name = volume.value
    }
  }
}

# compute = "ec2": hosts whose Docker allows io_uring, with the limits and the kernel settings of many connections.
# Docker has one profile for all containers of a host, so these hosts run nothing else.

locals {
  hosts_count = var.compute == "ec2" ? 1 : 0

  # The table that `ringway doctor` reads, and what containers make of a host.
  host_sysctls = join("\n", concat(
    [file("${path.module}/../tuning/sysctl.conf"), "-net.netfilter.nf_conntrack_max = 1048576"],
    [for key, value in var.instances.sysctl_extra : "${key} = ${value}"],
  ))

  user_data = templatefile("${path.module}/files/user-data.sh.tftpl", {
    cluster      = aws_ecs_cluster.main.name
    seccomp      = file("${path.module}/files/seccomp-io-uring.json")
    sysctls      = local.host_sysctls
    stop_timeout = local.container.stopTimeout
  })
}

data "aws_ssm_parameter" "ami" {
  count = local.hosts_count
  name = (var.architecture == "ARM64"
    ? "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id"
    : "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
  )
}

resource "aws_launch_template" "hosts" {
  count                  = local.hosts_count
  name_prefix            = "${var.name}-"
  description            = "Hosts of ${var.name}"
  image_id               = data.aws_ssm_parameter.ami[0].value
  instance_type          = var.instances.type
  update_default_version = true
  ebs_optimized          = true
  user_data              = base64encode(local.user_data)
  tags                   = var.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.hosts[0].arn
  }

  # One hop: a task has a network of its own and never needs the host's credentials.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  monitoring {
    enabled = true
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = var.instances.disk_gib
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  network_interfaces {
    device_index                = 0
    associate_public_ip_address = false
    delete_on_termination       = true
    security_groups             = [aws_security_group.hosts[0].id]
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume"]

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = "${var.name}-host" })
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

# Tasks have interfaces and groups of their own. The host itself only speaks to AWS.
resource "aws_security_group" "hosts" {
  count       = local.hosts_count
  name_prefix = "${var.name}-hosts-"
  description = "Hosts of ${var.name}: from nobody, to HTTPS"
  vpc_id      = local.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-hosts" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "hosts_to_https" {
  count             = local.hosts_count
  security_group_id = aws_security_group.hosts[0].id
  description       = "AWS services"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
  tags              = var.tags
}

resource "aws_autoscaling_group" "hosts" {
  count                 = local.hosts_count
  name_prefix           = "${var.name}-"
  min_size              = var.instances.min
  max_size              = var.instances.max
  vpc_zone_identifier   = local.private_subnet_ids
  health_check_type     = "EC2"
  protect_from_scale_in = true

  launch_template {
    id      = aws_launch_template.hosts[0].id
    version = aws_launch_template.hosts[0].latest_version
  }

  # New hosts first; ECS drains the old ones.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage       = 100
      max_healthy_percentage       = 150
      scale_in_protected_instances = "Refresh"
      instance_warmup              = 120
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${var.name}-host", AmazonECSManaged = "true" })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # The capacity provider's.
    ignore_changes = [desired_capacity]
  }
}

resource "aws_ecs_capacity_provider" "hosts" {
  count = local.hosts_count
  name  = "${var.name}-hosts"
  tags  = var.tags

  auto_scaling_group_provider {
    auto_scaling_group_arn         = aws_autoscaling_group.hosts[0].arn
    managed_draining               = "ENABLED"
    managed_termination_protection = "ENABLED"

    managed_scaling {
      status                    = "ENABLED"
      target_capacity           = 100
      minimum_scaling_step_size = 1
      maximum_scaling_step_size = 10
      instance_warmup_period    = 120
    }
  }
}

resource "aws_iam_role" "hosts" {
  count              = local.hosts_count
  name_prefix        = "${var.name}-host-"
  assume_role_policy = data.aws_iam_policy_document.assume["ec2"].json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "hosts" {
  count      = local.hosts_count
  role       = aws_iam_role.hosts[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"
}

# A shell on the host for those whom IAM lets in, without a key and without an open port.
resource "aws_iam_role_policy_attachment" "hosts_session" {
  count      = local.hosts_count
  role       = aws_iam_role.hosts[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "hosts" {
  count       = local.hosts_count
  name_prefix = "${var.name}-host-"
  role        = aws_iam_role.hosts[0].name
  tags        = var.tags
}

# compute = "managed_instances": AWS looks after the hosts and replaces each within 14 days, so drains are routine.
# Whether io_uring is allowed there is not documented; the program finds out at start and says so.

locals {
  managed_count = var.compute == "managed_instances" ? 1 : 0
}

resource "aws_ecs_capacity_provider" "managed" {
  count   = local.managed_count
  name    = "${var.name}-managed"
  cluster = aws_ecs_cluster.main.name
  tags    = var.tags

  managed_instances_provider {
    infrastructure_role_arn = aws_iam_role.managed_infrastructure[0].arn
    propagate_tags          = "CAPACITY_PROVIDER"

    instance_launch_template {
      ec2_instance_profile_arn = aws_iam_instance_profile.managed[0].arn
      monitoring               = "DETAILED"

      network_configuration {
        subnets         = local.private_subnet_ids
        security_groups = [aws_security_group.tasks.id]
      }

      storage_configuration {
        storage_size_gib = var.instances.disk_gib
      }

      instance_requirements {
        allowed_instance_types = var.instances.allowed
        cpu_manufacturers      = var.architecture == "ARM64" ? ["amazon-web-services"] : ["intel", "amd"]

        vcpu_count {
          min = max(2, ceil(var.cpu / 1024))
        }

        memory_mib {
          min = max(4096, var.memory)
        }
      }
    }
  }
}

resource "aws_iam_role" "managed_infrastructure" {
  count              = local.managed_count
  name_prefix        = "${var.name}-infra-"
  assume_role_policy = data.aws_iam_policy_document.assume["ecs"].json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "managed_infrastructure" {
  count      = local.managed_count
  role       = aws_iam_role.managed_infrastructure[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonECSInfrastructureRolePolicyForManagedInstances"
}

# The policy above lets ECS pass roles of this beginning only.
resource "aws_iam_role" "managed" {
  count              = local.managed_count
  name_prefix        = "ecsInstanceRole-${substr(var.name, 0, 20)}-"
  assume_role_policy = data.aws_iam_policy_document.assume["ec2"].json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "managed" {
  count      = local.managed_count
  role       = aws_iam_role.managed[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonECSInstanceRolePolicyForManagedInstances"
}

resource "aws_iam_instance_profile" "managed" {
  count       = local.managed_count
  name_prefix = "ecsInstanceRole-${substr(var.name, 0, 20)}-"
  role        = aws_iam_role.managed[0].name
  tags        = var.tags
}

# Who may do what. The program itself calls no AWS service, so its own role may do nothing.

data "aws_iam_policy_document" "assume" {
  for_each = toset(["ecs-tasks", "ec2", "ecs", "vpc-flow-logs", "monitoring.rds"])

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["${each.key}.amazonaws.com"]
    }

    # An instance profile is not assumed on behalf of an account.
    dynamic "condition" {
      for_each = each.key == "ec2" ? [] : [1]

      content {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }
}

# What ECS does for the task before it runs: pull the image, read the secrets, open the log.
resource "aws_iam_role" "execution" {
  name_prefix        = "${var.name}-exec-"
  assume_role_policy = data.aws_iam_policy_document.assume["ecs-tasks"].json
  tags               = var.tags
}

data "aws_iam_policy_document" "execution" {
  statement {
    sid       = "Login"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid       = "Pull"
    actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
    resources = local.repository_arns
  }

  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.tasks.arn}:*"]
  }

  statement {
    sid       = "Secrets"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = local.secret_arns
  }

  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt"]
    resources = concat([local.kms_key_arn], var.secrets_kms_key_arns)

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${local.region}.amazonaws.com", "ecr.${local.region}.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "execution" {
  name   = "start-tasks"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.execution.json
}

# What the program may do: nothing.
resource "aws_iam_role" "task" {
  name_prefix        = "${var.name}-task-"
  assume_role_policy = data.aws_iam_policy_document.assume["ecs-tasks"].json
  tags               = var.tags
}

locals {
  # Our own repository, and those of the images where they come from another one of ECR.
  of_ecr = "^(?P<account>[0-9]{12})\\.dkr\\.ecr\\.(?P<region>[a-z0-9-]+)\\.amazonaws\\.com/(?P<name>[^:@]+)[:@]"
  repository_arns = distinct(concat([aws_ecr_repository.main.arn], [
    for it in [for image in [var.image, var.tls_init_image] : regex(local.of_ecr, image) if can(regex(local.of_ecr, image))] :
    "arn:${local.partition}:ecr:${it.region}:${it.account}:repository/${it.name}"
  ]))

  secret_arns = compact(concat([
    aws_secretsmanager_secret.relay.arn,
    var.relay.hmac_secret_arn,
    var.auth.jwt_secret_arn,
    var.balancer == "nlb" ? var.tls_secret_arn : null,
    var.database.enabled ? aws_secretsmanager_secret.history[0].arn : null,
    ],
    # Without the key within the secret.
    distinct([for arn in values(var.secret_settings) : join(":", slice(split(":", arn), 0, 7))]),
  ))
}

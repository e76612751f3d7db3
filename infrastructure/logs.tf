# Logs of the program and of the load balancer, and the key that what is kept is encrypted with.

locals {
  kms_key_arn = var.kms_key_arn == null ? aws_kms_key.main[0].arn : var.kms_key_arn
}

resource "aws_kms_key" "main" {
  count                   = var.kms_key_arn == null ? 1 : 0
  description             = "Logs, secrets, topics and data of ${var.name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
  tags                    = var.tags
}

resource "aws_kms_alias" "main" {
  count         = var.kms_key_arn == null ? 1 : 0
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.main[0].key_id
}

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:The policy of a key: * is the key itself, and the account must be able to administer it
  #checkov:skip=CKV_AWS_111:The policy of a key: * is the key itself
  #checkov:skip=CKV_AWS_356:The policy of a key: * is the key itself
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
    }
  }

  statement {
    sid       = "Logs"
    actions   = ["kms:Encrypt*", "kms:Decrypt*", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${local.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:*"]
    }
  }

  # An alarm publishes to an encrypted topic only where the key says so; the key of alias/aws/sns cannot.
  statement {
    sid       = "Alarms"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "events.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_cloudwatch_log_group" "tasks" {
  name              = "/ecs/${var.name}"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.kms_key_arn
  tags              = var.tags
}

# ECS makes this one itself where it is not there yet, and then keeps what is in it for ever.
resource "aws_cloudwatch_log_group" "insights" {
  name              = "/aws/ecs/containerinsights/${var.name}/performance"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.kms_key_arn
  tags              = var.tags
}

resource "aws_s3_bucket" "access_logs" {
  #checkov:skip=CKV_AWS_18:It is the bucket of logs
  #checkov:skip=CKV_AWS_144:Access logs of one region are not worth a copy in another
  #checkov:skip=CKV_AWS_145:Load balancers can write with the key of S3 only
  #checkov:skip=CKV2_AWS_62:Nobody waits for a log file
  bucket_prefix = "${var.name}-access-"
  force_destroy = !var.deletion_protection
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "access_logs" {
  bucket                  = aws_s3_bucket.access_logs.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# Load balancers can write with S3's own key only, not with one of KMS.
resource "aws_s3_bucket_server_side_encryption_configuration" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "access_logs" {
  bucket = aws_s3_bucket.access_logs.id

  rule {
    id     = "expire"
    status = "Enabled"

    filter {}

    expiration {
      days = var.access_logs_days
    }

    noncurrent_version_expiration {
      noncurrent_days = 7
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

locals {
  # Who writes the access logs, and on whose behalf.
  access_logs_writer = var.balancer == "alb" ? "logdelivery.elasticloadbalancing.amazonaws.com" : "delivery.logs.amazonaws.com"
  access_logs_source = var.balancer == "alb" ? "elasticloadbalancing:${local.region}:${local.account}:loadbalancer/*" : "logs:${local.region}:${local.account}:*"
}

data "aws_iam_policy_document" "access_logs" {
  statement {
    sid       = "Write"
    actions   = ["s3:PutObject"]
    resources = ["${aws_s3_bucket.access_logs.arn}/${var.balancer}/AWSLogs/${local.account}/*"]

    principals {
      type        = "Service"
      identifiers = [local.access_logs_writer]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:${local.access_logs_source}"]
    }
  }

  # The network load balancer's deliverer looks before it writes.
  dynamic "statement" {
    for_each = var.balancer == "nlb" ? [1] : []

    content {
      sid       = "Look"
      actions   = ["s3:GetBucketAcl"]
      resources = [aws_s3_bucket.access_logs.arn]

      principals {
        type        = "Service"
        identifiers = [local.access_logs_writer]
      }

      condition {
        test     = "ArnLike"
        variable = "aws:SourceArn"
        values   = ["arn:${local.partition}:${local.access_logs_source}"]
      }
    }
  }

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.access_logs.arn, "${aws_s3_bucket.access_logs.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "access_logs" {
  bucket     = aws_s3_bucket.access_logs.id
  policy     = data.aws_iam_policy_document.access_logs.json
  depends_on = [aws_s3_bucket_public_access_block.access_logs]
}

# Passwords are made here and read by ECS at the start of a task; rotating one is described in docs/runbook.md.
# They are in Terraform's state, as every resource that is given one has it there: keep the state encrypted.

data "aws_secretsmanager_random_password" "relay" {
  password_length     = 48
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "relay" {
  #checkov:skip=CKV2_AWS_57:A new password must reach ElastiCache's user and the tasks in one order, by the runbook
  name_prefix = "${var.name}/relay-"
  description = "User and password of Redis"
  kms_key_id  = local.kms_key_arn
  tags        = var.tags
}

resource "aws_secretsmanager_secret_version" "relay" {
  secret_id = aws_secretsmanager_secret.relay.id
  secret_string = jsonencode({
    username = local.relay_user
    password = data.aws_secretsmanager_random_password.relay.random_password
  })

  # The data source has a new password at each run; the first one stays until it is rotated on purpose.
  lifecycle {
    ignore_changes = [secret_string]
  }
}

data "aws_secretsmanager_random_password" "history" {
  count               = var.database.enabled ? 1 : 0
  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "history" {
  #checkov:skip=CKV2_AWS_57:A new password must reach MySQL's user and the tasks in one order, by the runbook
  count       = var.database.enabled ? 1 : 0
  name_prefix = "${var.name}/history-"
  description = "User and password of MySQL, for the program"
  kms_key_id  = local.kms_key_arn
  tags        = var.tags
}

resource "aws_secretsmanager_secret_version" "history" {
  count     = var.database.enabled ? 1 : 0
  secret_id = aws_secretsmanager_secret.history[0].id
  secret_string = jsonencode({
    username = "ringway"
    password = data.aws_secretsmanager_random_password.history[0].random_password
  })

  lifecycle {
    ignore_changes = [secret_string]
  }
}

# MySQL for message history. The master password is RDS's own affair; the program has a user of its own, which the
# runbook says how to create.

resource "aws_db_subnet_group" "history" {
  count      = var.database.enabled ? 1 : 0
  name       = "${var.name}-history"
  subnet_ids = local.private_subnet_ids
  tags       = var.tags
}

resource "aws_db_parameter_group" "history" {
  count       = var.database.enabled ? 1 : 0
  name_prefix = "${var.name}-history-"
  family      = "mysql${var.database.engine_version}"
  description = "MySQL of ${var.name}"
  tags        = var.tags

  dynamic "parameter" {
    for_each = {
      require_secure_transport = "1"
      # An alarm follows it; what RDS derives from the memory would be another for each class.
      max_connections = tostring(var.database.connections_max)
      slow_query_log  = "1"
      long_query_time = "1"
      log_output      = "FILE"
      # A RECEIPT says `stored`: a commit must be on disk, here and on the standby.
      innodb_flush_log_at_trx_commit = "1"
      sync_binlog                    = "1"
      character_set_server           = "utf8mb4"
      collation_server               = "utf8mb4_0900_ai_ci"
    }

    content {
      name  = parameter.key
      value = parameter.value
    }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "history" {
  #checkov:skip=CKV_AWS_133:backup_retention_period is database.backup_days, from 1 to 35; the check does not follow it
  #checkov:skip=CKV2_AWS_69:require_secure_transport is among the parameters of the group; the check does not follow it
  count                 = var.database.enabled ? 1 : 0
  identifier            = "${var.name}-history"
  engine                = "mysql"
  engine_version        = var.database.engine_version
  instance_class        = var.database.instance_class
  db_name               = var.database.name
  port                  = 3306
  multi_az              = true
  storage_type          = "gp3"
  allocated_storage     = var.database.storage_gib
  max_allocated_storage = var.database.storage_max
  storage_encrypted     = true
  kms_key_id            = local.kms_key_arn

  username                            = "admin"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = local.kms_key_arn
  iam_database_authentication_enabled = true

  db_subnet_group_name   = aws_db_subnet_group.history[0].name
  vpc_security_group_ids = [aws_security_group.history[0].id]
  parameter_group_name   = aws_db_parameter_group.history[0].name
  publicly_accessible    = false

  backup_retention_period   = var.database.backup_days
  backup_window             = "02:00-03:00"
  maintenance_window        = "sun:06:00-sun:07:00"
  copy_tags_to_snapshot     = true
  deletion_protection       = var.deletion_protection
  skip_final_snapshot       = !var.deletion_protection
  final_snapshot_identifier = "${var.name}-history-final"

  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = ["error", "slowquery"]
  performance_insights_enabled    = true
  performance_insights_kms_key_id = local.kms_key_arn
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.database_monitoring[0].arn
  tags                            = var.tags

  depends_on = [aws_cloudwatch_log_group.history]
}

# RDS makes them itself where they are not there yet, and then keeps what is in them for ever.
resource "aws_cloudwatch_log_group" "history" {
  for_each          = toset(var.database.enabled ? ["error", "slowquery"] : [])
  name              = "/aws/rds/instance/${var.name}-history/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = local.kms_key_arn
  tags              = var.tags
}

resource "aws_iam_role" "database_monitoring" {
  count              = var.database.enabled ? 1 : 0
  name_prefix        = "${var.name}-rds-"
  assume_role_policy = data.aws_iam_policy_document.assume["monitoring.rds"].json
  tags               = var.tags
}

resource "aws_iam_role_policy_attachment" "database_monitoring" {
  count      = var.database.enabled ? 1 : 0
  role       = aws_iam_role.database_monitoring[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

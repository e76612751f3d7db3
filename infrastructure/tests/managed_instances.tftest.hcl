# Hosts that AWS looks after.

mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["us-east-1a", "us-east-1b", "us-east-1c"] }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { region = "us-east-1" }
  }
}

variables {
  image           = "123456789012.dkr.ecr.us-east-1.amazonaws.com/ringway:0.1.0"
  certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/0"
  auth            = { jwks_url = "https://login.example.com/keys" }
  compute         = "managed_instances"
  architecture    = "ARM64"
}

run "managed" {
  command = apply

  assert {
    condition     = aws_ecs_task_definition.main.requires_compatibilities == toset(["MANAGED_INSTANCES"])
    error_message = "It must be made for managed instances."
  }

  assert {
    condition     = one([for it in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment : it.value if it.name == "RINGWAY_IO_DRIVER"]) == "auto"
    error_message = "The probe decides."
  }

  assert {
    condition     = aws_ecs_capacity_provider.managed[0].cluster == aws_ecs_cluster.main.name
    error_message = "The provider belongs to the cluster."
  }

  assert {
    condition     = startswith(aws_iam_role.managed[0].name_prefix, "ecsInstanceRole")
    error_message = "ECS may pass roles of this beginning only."
  }

  assert {
    condition     = length(aws_launch_template.hosts) == 0
    error_message = "There are no hosts of ours."
  }
}

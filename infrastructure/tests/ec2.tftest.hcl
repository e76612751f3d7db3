# Hosts that allow io_uring.

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
  compute         = "ec2"
}

run "hosts" {
  command = apply

  assert {
    condition     = aws_ecs_task_definition.main.requires_compatibilities == toset(["EC2"]) && aws_ecs_task_definition.main.network_mode == "awsvpc"
    error_message = "Tasks have their own interface."
  }

  assert {
    condition     = one([for it in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].environment : it.value if it.name == "RINGWAY_IO_DRIVER"]) == "io_uring"
    error_message = "A host that does not allow io_uring must fail the deployment."
  }

  assert {
    condition     = contains([for it in jsondecode(aws_ecs_task_definition.main.container_definitions)[0].ulimits : it.name], "memlock")
    error_message = "Rings are charged to locked memory."
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.hosts[0].user_data), "\"seccomp-profile\": \"/etc/docker/ringway-seccomp.json\"")
    error_message = "Docker must be given the profile."
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.hosts[0].user_data), "io_uring_setup")
    error_message = "The profile must be there."
  }

  assert {
    condition     = strcontains(base64decode(aws_launch_template.hosts[0].user_data), "ECS_CONTAINER_STOP_TIMEOUT=120s")
    error_message = "The agent must not kill a task that drains."
  }

  assert {
    condition     = length(base64decode(aws_launch_template.hosts[0].user_data)) < 16384
    error_message = "User data ends at 16 KiB."
  }

  assert {
    condition     = aws_launch_template.hosts[0].metadata_options[0].http_tokens == "required"
    error_message = "IMDSv2 only."
  }

  assert {
    condition     = one(aws_ecs_service.main.placement_constraints).type == "distinctInstance"
    error_message = "One task to a host."
  }

  assert {
    condition     = aws_autoscaling_group.hosts[0].protect_from_scale_in && aws_ecs_capacity_provider.hosts[0].auto_scaling_group_provider[0].managed_draining == "ENABLED"
    error_message = "A host goes only when its task has drained."
  }
}

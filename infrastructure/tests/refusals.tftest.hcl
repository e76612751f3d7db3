# What AWS or the program would refuse is refused before anything is made.

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
}

run "name_too_long" {
  command = plan

  variables {
    name = "a-name-that-is-far-too-long"
  }

  expect_failures = [var.name]
}

run "image_latest" {
  command = plan

  variables {
    image = "ringway:latest"
  }

  expect_failures = [var.image]
}

run "image_without_tag" {
  command = plan

  variables {
    image = "ringway"
  }

  expect_failures = [var.image]
}

run "compute_unknown" {
  command = plan

  variables {
    compute = "lambda"
  }

  expect_failures = [var.compute]
}

run "architecture_unknown" {
  command = plan

  variables {
    architecture = "arm64"
  }

  expect_failures = [var.architecture]
}

run "cpu_that_fargate_does_not_have" {
  command = plan

  variables {
    cpu    = 3000
    memory = 8192
  }

  expect_failures = [var.cpu]
}

run "memory_that_fargate_does_not_have" {
  command = plan

  variables {
    cpu    = 1024
    memory = 1024
  }

  expect_failures = [var.memory]
}

run "more_connections_than_files" {
  command = plan

  variables {
    connections_max = 2000000
  }

  expect_failures = [var.connections_max]
}

run "one_task" {
  command = plan

  variables {
    tasks = { min = 1 }
  }

  expect_failures = [var.tasks]
}

run "target_too_near_the_limit" {
  command = plan

  variables {
    tasks = { connections_target = 19000 }
  }

  expect_failures = [var.tasks]
}

run "one_subnet" {
  command = plan

  variables {
    network = { vpc_id = "vpc-1", vpc_cidr = "10.0.0.0/16", public_subnet_ids = ["a"], private_subnet_ids = ["b"] }
  }

  expect_failures = [var.network]
}

run "four_zones" {
  command = plan

  variables {
    zones_count = 4
  }

  expect_failures = [var.zones_count]
}

run "balancer_unknown" {
  command = plan

  variables {
    balancer = "clb"
  }

  expect_failures = [var.balancer]
}

run "alb_without_certificate" {
  command = plan

  variables {
    certificate_arn = null
  }

  expect_failures = [var.certificate_arn]
}

run "nlb_without_tls" {
  command = plan

  variables {
    balancer = "nlb"
  }

  expect_failures = [var.tls_secret_arn]
}

run "secret_without_suffix" {
  command = plan

  variables {
    balancer       = "nlb"
    tls_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tls"
  }

  expect_failures = [var.tls_secret_arn]
}

run "idle_timeout_within_two_heart_beats" {
  command = plan

  variables {
    idle_timeout = 50
  }

  expect_failures = [var.idle_timeout]
}

run "idle_timeout_over_the_balancers" {
  command = plan

  variables {
    idle_timeout = 4001
  }

  expect_failures = [var.idle_timeout]
}

run "deregistration_of_300" {
  command = plan

  variables {
    deregistration_delay = 300
  }

  expect_failures = [var.deregistration_delay]
}

run "drain_past_the_kill" {
  command = plan

  variables {
    drain = { window = 75, deadline = 120 }
  }

  expect_failures = [var.drain]
}

run "window_past_the_deadline" {
  command = plan

  variables {
    drain = { window = 110, deadline = 110 }
  }

  expect_failures = [var.drain]
}

run "relay_mode_unknown" {
  command = plan

  variables {
    relay = { mode = "streams" }
  }

  expect_failures = [var.relay]
}

run "relay_without_replica" {
  command = plan

  variables {
    relay = { replicas_per_shard = 0 }
  }

  expect_failures = [var.relay]
}

run "database_name_with_a_dash" {
  command = plan

  variables {
    database = { name = "my-db" }
  }

  expect_failures = [var.database]
}

run "auth_left_open" {
  command = plan

  variables {
    auth = {}
  }

  expect_failures = [var.auth]
}

run "auth_off_beside_keys" {
  command = plan

  variables {
    auth = { off = true, jwks_url = "https://login.example.com/keys" }
  }

  expect_failures = [var.auth]
}

run "any_origin" {
  command = plan

  variables {
    origins = ["*"]
  }

  expect_failures = [var.origins]
}

run "retention_that_cloudwatch_lacks" {
  command = plan

  variables {
    log_retention_days = 45
  }

  expect_failures = [var.log_retention_days]
}

run "too_few_hosts_for_a_deployment" {
  command = plan

  variables {
    compute   = "ec2"
    instances = { max = 20 }
  }

  expect_failures = [var.instances]
}

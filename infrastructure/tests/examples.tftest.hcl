# The examples keep the rules of the variables, which only a plan asks.

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
  jwks_url        = "https://login.example.com/keys"
  tls_secret_arn  = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tls-AbCdEf"
  jwt_secret_arn  = "arn:aws:secretsmanager:us-east-1:123456789012:secret:jwt-AbCdEf"
}

run "minimal" {
  command = apply

  module {
    source = "./examples/minimal"
  }

  assert {
    condition     = startswith(output.url, "wss://")
    error_message = "It must say where clients connect."
  }
}

run "complete" {
  command = apply

  module {
    source = "./examples/complete"
  }

  assert {
    condition     = startswith(output.url, "wss://")
    error_message = "It must say where clients connect."
  }
}

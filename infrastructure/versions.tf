terraform {
  # Variables are validated against each other since 1.9; mocks can be overridden in tests since 1.11.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }
}

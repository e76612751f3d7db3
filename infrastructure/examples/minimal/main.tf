# The least that must be said: an image, a certificate, and how users prove who they are. It makes a VPC, an
# application load balancer, two tasks on Fargate and a Redis with one replica.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }
}

provider "aws" {
  region = "us-east-1"
}

variable "image" {
  description = "The image of Ringway, by digest or by a tag that is never moved."
  type        = string
}

variable "certificate_arn" {
  description = "ACM certificate of the name that clients connect to."
  type        = string
}

variable "jwks_url" {
  description = "Key set of the identity provider."
  type        = string
}

module "ringway" {
  source = "../.."

  image           = var.image
  certificate_arn = var.certificate_arn
  auth            = { jwks_url = var.jwks_url }
}

output "url" {
  description = "Where clients connect."
  value       = module.ringway.url
}

# Everything at once: hosts that allow io_uring, TLS in the task behind a network load balancer, Redis in cluster
# mode, MySQL, three zones, alarms that reach people, and state that is kept encrypted.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }

  # Passwords are in the state: name a bucket of yours here, which only those may read who may read the passwords.
  # backend "s3" {
  #   bucket       = "..."
  #   key          = "ringway.tfstate"
  #   region       = "eu-central-1"
  #   encrypt      = true
  #   use_lockfile = true
  # }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { Service = "ringway", Environment = "production" }
  }
}

variable "region" {
  description = "Where it runs."
  type        = string
  default     = "eu-central-1"
}

variable "image" {
  description = "The image of Ringway, by digest or by a tag that is never moved."
  type        = string
}

variable "tls_secret_arn" {
  description = "Secret with the PEM texts `certificate` and `private_key`."
  type        = string
}

variable "jwt_secret_arn" {
  description = "Secret that tokens are signed with."
  type        = string
}

module "ringway" {
  source = "../.."

  name         = "ringway-edge"
  image        = var.image
  compute      = "ec2"
  architecture = "ARM64"
  cpu          = 3072
  memory       = 6144
  instances    = { type = "c7g.xlarge", min = 3, max = 18 }

  balancer       = "nlb"
  tls_secret_arn = var.tls_secret_arn
  idle_timeout   = 600

  zones_count     = 3
  vpc_cidr        = "10.60.0.0/16"
  connections_max = 100000
  tasks           = { min = 3, max = 12, connections_target = 50000 }
  drain           = { window = 90, deadline = 110 }

  relay    = { mode = "sharded", node_type = "cache.r7g.large", shards = 3 }
  database = { enabled = true, storage_gib = 200 }

  auth    = { jwt_secret_arn = var.jwt_secret_arn, issuer = "https://login.example.com", audience = "chat" }
  origins = ["https://app.example.com"]

  settings = { "limits.message_bytes" = "128KiB" }

  alarm_emails       = { page = ["on-call@example.com"], ticket = ["team@example.com"] }
  log_retention_days = 400
}

output "url" {
  description = "Where clients connect, by the load balancer's own name."
  value       = module.ringway.url
}

output "repository_url" {
  description = "Where images are pushed."
  value       = module.ringway.repository_url
}

output "settings_left_out" {
  description = "What this version of the program does not have yet."
  value       = module.ringway.settings_left_out
}

# What must be said, then what may be said, by subject. Each rule that AWS or the program would answer with an
# error long after `apply` began is checked here, before.

variable "name" {
  description = "Name of the service; the names of everything else begin with it."
  type        = string
  default     = "websocket-service"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,22}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "name must have 3 to 24 characters of a-z, 0-9 and single -: load balancers allow 32, and suffixes are added."
  }
}

variable "image" {
  description = "The image of Ringway, by digest or by a tag that is never moved."
  type        = string

  validation {
    condition     = can(regex("(@sha256:[0-9a-f]{64}|:[^:/@]+)$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image must end in @sha256:... or in a tag other than latest: a rollback must find what ran before."
  }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key in keys(var.tags) : !startswith(lower(key), "aws:")])
    error_message = "tags that begin with aws: are AWS's own."
  }
}

# -- Where it runs ------------------------------------------------------------------------------------------------

variable "compute" {
  description = "fargate (epoll, nothing to look after), ec2 (io_uring, tuned hosts) or managed_instances (the probe decides at start)."
  type        = string
  default     = "fargate"

  validation {
    condition     = contains(["fargate", "ec2", "managed_instances"], var.compute)
    error_message = "compute must be fargate, ec2 or managed_instances."
  }
}

variable "architecture" {
  description = "X86_64 or ARM64; the image must have been built for it."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.architecture)
    error_message = "architecture must be X86_64 or ARM64."
  }
}

variable "cpu" {
  description = "CPU units of a task; 1024 are one core, and one shard."
  type        = number
  default     = 1024

  validation {
    condition     = var.compute != "fargate" || contains([256, 512, 1024, 2048, 4096, 8192, 16384], var.cpu)
    error_message = "Fargate has 256, 512, 1024, 2048, 4096, 8192 and 16384 CPU units."
  }
}

variable "memory" {
  description = "Memory of a task, in MiB."
  type        = number
  default     = 2048

  validation {
    condition = var.compute != "fargate" || contains(lookup({
      "256"   = [512, 1024, 2048]
      "512"   = range(1024, 4097, 1024)
      "1024"  = range(2048, 8193, 1024)
      "2048"  = range(4096, 16385, 1024)
      "4096"  = range(8192, 30721, 1024)
      "8192"  = range(16384, 61441, 4096)
      "16384" = range(32768, 122881, 8192)
    }, tostring(var.cpu), []), var.memory)
    error_message = "Fargate does not have this memory at this cpu; see the table of task sizes in its documentation."
  }
}

variable "connections_max" {
  description = "Connections that one task takes (limits.connections); more are answered 503 with Retry-After."
  type        = number
  default     = 20000

  validation {
    condition     = 100 <= var.connections_max && var.connections_max <= 1000000
    error_message = "connections_max must be from 100 to 1000000: nofile ends at 1048576, and 1000 files are for other things."
  }
}

variable "tasks" {
  description = "How many tasks there are at least and at most, and how many connections one has on average before another is started."
  type = object({
    min                = optional(number, 2)
    max                = optional(number, 20)
    connections_target = optional(number, 5000)
    cpu_target_percent = optional(number, 60)
  })
  default = {}

  validation {
    condition     = 2 <= var.tasks.min && var.tasks.min <= var.tasks.max
    error_message = "tasks.min must be at least 2, so that one can be lost, and at most tasks.max."
  }
  validation {
    condition     = var.tasks.connections_target <= 0.7 * var.connections_max
    error_message = "tasks.connections_target must be at most 70 % of connections_max: starting a task takes a minute or more."
  }
  validation {
    condition     = 1 <= var.tasks.connections_target
    error_message = "tasks.connections_target must be at least 1."
  }
  validation {
    condition     = 10 <= var.tasks.cpu_target_percent && var.tasks.cpu_target_percent <= 90
    error_message = "tasks.cpu_target_percent must be from 10 to 90."
  }
}

variable "instances" {
  description = "Hosts of compute = \"ec2\" (type, least and most; each has one task, so give cpu and memory nearly all of it) and of managed_instances (allowed types)."
  type = object({
    type         = optional(string, "c7i.xlarge")
    min          = optional(number, 2)
    max          = optional(number, 30)
    allowed      = optional(list(string), ["c7i.*", "c7g.*", "m7i.*", "m7g.*"])
    disk_gib     = optional(number, 30)
    sysctl_extra = optional(map(string), {})
  })
  default = {}

  validation {
    condition     = var.compute != "ec2" || ceil(1.5 * var.tasks.max) <= var.instances.max
    error_message = "instances.max must be at least 1.5 times tasks.max: a deployment starts new tasks first, each on a host of its own."
  }
  validation {
    condition     = var.compute != "ec2" || var.tasks.min <= var.instances.min
    error_message = "instances.min must be at least tasks.min: each task has a host of its own."
  }
  validation {
    condition     = var.compute != "ec2" || can(regex("^[a-z]+[0-9]+g", var.instances.type)) == (var.architecture == "ARM64")
    error_message = "instances.type must have processors of the architecture: c7g and the like for ARM64, c7i and the like for X86_64."
  }
  validation {
    condition     = 30 <= var.instances.disk_gib
    error_message = "instances.disk_gib must be at least 30: the image of the hosts is as large."
  }
}

# -- Network ------------------------------------------------------------------------------------------------------

variable "network" {
  description = "An existing VPC with its subnets; null makes a small one of vpc_cidr over zones_count zones."
  type = object({
    vpc_id             = string
    vpc_cidr           = string
    public_subnet_ids  = list(string)
    private_subnet_ids = list(string)
  })
  default = null

  validation {
    condition     = var.network == null ? true : 2 <= length(var.network.public_subnet_ids) && 2 <= length(var.network.private_subnet_ids)
    error_message = "network needs at least two public and two private subnets, in different zones."
  }
  validation {
    condition     = var.network == null ? true : can(cidrnetmask(var.network.vpc_cidr))
    error_message = "network.vpc_cidr must be the IPv4 range of the VPC: X-Forwarded-For is believed from there."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made where network is null."
  type        = string
  default     = "10.40.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 4, 15))
    error_message = "vpc_cidr must be an IPv4 range from /16 to /24."
  }
}

variable "zones_count" {
  description = "Availability zones of the VPC that is made."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3], var.zones_count)
    error_message = "zones_count must be 2 or 3."
  }
}

variable "nat" {
  description = "NAT gateways of the VPC that is made: one, or per_zone (no zone depends on another)."
  type        = string
  default     = "per_zone"

  validation {
    condition     = contains(["one", "per_zone"], var.nat)
    error_message = "nat must be one or per_zone."
  }
}

variable "client_cidrs" {
  description = "Where clients come from."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = 1 <= length(var.client_cidrs) && alltrue([for it in var.client_cidrs : can(cidrnetmask(it))])
    error_message = "client_cidrs must be one or more IPv4 ranges."
  }
}

variable "balancer" {
  description = "alb (TLS ends at the load balancer, firewall, HTTP health checks) or nlb (TLS ends in the task, PROXY protocol v2, far cheaper for idle connections)."
  type        = string
  default     = "alb"

  validation {
    condition     = contains(["alb", "nlb"], var.balancer)
    error_message = "balancer must be alb or nlb."
  }
}

variable "certificate_arn" {
  description = "ACM certificate of the alb."
  type        = string
  default     = null

  validation {
    condition     = var.balancer != "alb" || can(regex("^arn:[a-z-]+:acm:", var.certificate_arn))
    error_message = "balancer = \"alb\" needs certificate_arn, the ARN of an ACM certificate."
  }
}

variable "tls_secret_arn" {
  description = "Secret of the nlb variant: JSON with the PEM texts `certificate` and `private_key`."
  type        = string
  default     = null

  validation {
    condition     = var.balancer != "nlb" || can(regex("^arn:[a-z-]+:secretsmanager:.*-[A-Za-z0-9]{6}$", var.tls_secret_arn))
    error_message = "balancer = \"nlb\" needs tls_secret_arn, the full ARN of a secret with its suffix of six characters."
  }
}

variable "tls_init_image" {
  description = "Image with /bin/sh that puts certificate and key where the nlb variant reads them, once per task."
  type        = string
  default     = "public.ecr.aws/docker/library/busybox:1.37.0"

  validation {
    condition     = can(regex("(@sha256:[0-9a-f]{64}|:[^:/@]+)$", var.tls_init_image)) && !endswith(var.tls_init_image, ":latest")
    error_message = "tls_init_image must end in @sha256:... or in a tag other than latest: it is given the private key."
  }
}

variable "idle_timeout" {
  description = "Seconds without a byte after which the load balancer gives a connection up."
  type        = number
  default     = 300

  validation {
    condition     = 2 * 25 < var.idle_timeout && var.idle_timeout <= (var.balancer == "nlb" ? 6000 : 4000)
    error_message = "idle_timeout must be more than two heart-beats of 25 s, and at most 4000 (alb) or 6000 (nlb)."
  }
}

variable "deregistration_delay" {
  description = "Seconds between a task's deregistration and its SIGTERM when the service stops it. The drain itself comes after."
  type        = number
  default     = 45

  validation {
    condition     = 15 <= var.deregistration_delay && var.deregistration_delay <= 120
    error_message = "deregistration_delay must be from 15 to 120: clients are told to go only after it, so a long one only delays."
  }
}

variable "drain" {
  description = "Seconds over which the connections of a stopping task are closed, and after which it exits in any case."
  type = object({
    window   = optional(number, 75)
    deadline = optional(number, 110)
  })
  default = {}

  validation {
    condition     = 0 <= var.drain.window && var.drain.window < var.drain.deadline && var.drain.deadline <= 115
    error_message = "0 <= drain.window < drain.deadline <= 115: ECS kills the task 120 s after SIGTERM."
  }
}

# -- Redis and MySQL ----------------------------------------------------------------------------------------------

variable "relay" {
  description = "ElastiCache: mode pubsub (one shard) or sharded (cluster mode, SPUBLISH), its nodes and engine; patterns = true lets clients subscribe to patterns, which needs the right to all channels; a secret to sign messages with."
  type = object({
    mode               = optional(string, "pubsub")
    patterns           = optional(bool, false)
    node_type          = optional(string, "cache.r7g.large")
    shards             = optional(number, 3)
    replicas_per_shard = optional(number, 1)
    engine_version     = optional(string, "8.0")
    snapshot_days      = optional(number, 1)
    hmac_secret_arn    = optional(string)
  })
  default = {}

  validation {
    condition     = contains(["pubsub", "sharded"], var.relay.mode)
    error_message = "relay.mode must be pubsub or sharded."
  }
  validation {
    condition     = 1 <= var.relay.replicas_per_shard && var.relay.replicas_per_shard <= 5
    error_message = "relay.replicas_per_shard must be from 1 to 5: Multi-AZ needs a replica."
  }
  validation {
    condition     = 1 <= var.relay.shards && var.relay.shards * (1 + var.relay.replicas_per_shard) <= 90
    error_message = "relay.shards must be at least 1, and 90 nodes are the most of a cluster without asking AWS."
  }
  validation {
    condition     = !(var.relay.mode == "sharded" && var.relay.patterns)
    error_message = "relay.patterns needs relay.mode = \"pubsub\": sharded channels have no patterns."
  }
  validation {
    condition     = can(regex("^8\\.[0-9]+$", var.relay.engine_version))
    error_message = "relay.engine_version must be one of Valkey 8: the parameter group is of its family."
  }
  validation {
    condition     = 0 <= var.relay.snapshot_days && var.relay.snapshot_days <= 35
    error_message = "relay.snapshot_days must be from 0 (none) to 35."
  }
  validation {
    condition     = var.relay.hmac_secret_arn == null || can(regex("^arn:[a-z-]+:secretsmanager:.*-[A-Za-z0-9]{6}$", var.relay.hmac_secret_arn))
    error_message = "relay.hmac_secret_arn must be the full ARN of a secret with its suffix of six characters."
  }
}

variable "database" {
  description = "RDS MySQL for message history. Off until the program stores history: see later.json."
  type = object({
    enabled         = optional(bool, false)
    name            = optional(string, "ringway")
    instance_class  = optional(string, "db.r7g.large")
    storage_gib     = optional(number, 100)
    storage_max     = optional(number, 1000)
    connections_max = optional(number, 1000)
    engine_version  = optional(string, "8.4")
    backup_days     = optional(number, 7)
  })
  default = {}

  validation {
    condition     = can(regex("^[a-z][a-z0-9_]{0,62}$", var.database.name))
    error_message = "database.name must begin with a letter and have a-z, 0-9 and _ only."
  }
  validation {
    condition     = 1 <= var.database.backup_days && var.database.backup_days <= 35
    error_message = "database.backup_days must be from 1 to 35."
  }
  validation {
    condition     = 20 <= var.database.storage_gib && 1.1 * var.database.storage_gib <= var.database.storage_max
    error_message = "database.storage_gib must be at least 20, and storage_max a tenth more: it is where storage may grow to."
  }
  validation {
    condition     = contains(["8.0", "8.4"], var.database.engine_version)
    error_message = "database.engine_version must be 8.0 or 8.4; RDS chooses the newest of it."
  }
  validation {
    condition     = 10 <= var.database.connections_max && var.database.connections_max <= 100000
    error_message = "database.connections_max must be from 10 to 100000."
  }
}

# -- Who may connect ----------------------------------------------------------------------------------------------

variable "auth" {
  description = "How users prove who they are: jwks_url or jwt_secret_arn (or both), issuer and audience; off = true lets everybody in."
  type = object({
    off            = optional(bool, false)
    issuer         = optional(string)
    audience       = optional(string)
    jwks_url       = optional(string)
    jwt_secret_arn = optional(string)
  })

  validation {
    condition     = var.auth.off != (var.auth.jwks_url != null || var.auth.jwt_secret_arn != null)
    error_message = "auth needs jwks_url or jwt_secret_arn, or off = true and neither."
  }
  validation {
    condition     = var.auth.jwt_secret_arn == null || can(regex("^arn:[a-z-]+:secretsmanager:.*-[A-Za-z0-9]{6}$", var.auth.jwt_secret_arn))
    error_message = "auth.jwt_secret_arn must be the full ARN of a secret with its suffix of six characters."
  }
  validation {
    condition     = var.auth.jwks_url == null || can(regex("^https://", var.auth.jwks_url))
    error_message = "auth.jwks_url must begin with https://: whoever can change the keys can be anybody."
  }
}

variable "origins" {
  description = "Origins whose pages may connect, such as https://app.example.com; none means the same origin only."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.origins : can(regex("^https?://[^/*]+$", it))])
    error_message = "origins must be like https://app.example.com, without a path; with * any page may speak for its visitor."
  }
}

variable "settings" {
  description = "Further settings of the program by their key, such as { \"limits.message_bytes\" = \"128KiB\" }."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key in keys(var.settings) : can(regex("^[a-z]+(\\.[a-z_]+)+$", key))])
    error_message = "settings must be named as in the README, such as limits.message_bytes."
  }
  # Ports, alarms, the kill and the scaling policy follow from these.
  validation {
    condition = 0 == length(setintersection(keys(var.settings), [
      "server.listen", "server.proxy_protocol", "tls.cert", "tls.key", "limits.connections", "drain.window",
      "drain.deadline", "metrics.emf", "metrics.service", "relay.url", "relay.mode", "relay.user",
    ]))
    error_message = "settings must leave to their own variables what the rest of the module follows: listeners, limits.connections, drain.*, metrics.emf, metrics.service and where Redis is."
  }
  validation {
    condition     = 0 == length([for key in keys(var.settings) : key if can(regex("(token|secret|password|hmac_key)$", key))])
    error_message = "settings are in the clear in the task definition: secrets belong into secret_settings."
  }
}

variable "secret_settings" {
  description = "Further settings whose values are secrets: by their key the full ARN of the secret, such as { \"metrics.token\" = \"arn:aws:secretsmanager:...:secret:metrics-AbCdEf\" }; a key within its JSON may follow as :key::."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key in keys(var.secret_settings) : can(regex("^[a-z]+(\\.[a-z_]+)+$", key)) && !contains(keys(var.settings), key)])
    error_message = "secret_settings must be named as in the README, such as admin.token, and not be among settings too."
  }
  validation {
    condition = alltrue([
      for arn in values(var.secret_settings) :
      can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^:]+-[A-Za-z0-9]{6}(:[^:]*:[^:]*:[^:]*)?$", arn))
    ])
    error_message = "secret_settings must be full ARNs of secrets with their suffix of six characters."
  }
  validation {
    condition     = 0 == length(setintersection(keys(var.secret_settings), ["auth.jwt.secret", "relay.hmac_key", "relay.password"]))
    error_message = "secret_settings must leave to their own variables: auth.jwt_secret_arn, relay.hmac_secret_arn; the password of Redis is made here."
  }
}

# -- Operation ----------------------------------------------------------------------------------------------------

variable "alarm_emails" {
  description = "Who is told of alarms: `page` when users are or soon will be hurt, `ticket` otherwise."
  type = object({
    page   = optional(list(string), [])
    ticket = optional(list(string), [])
  })
  default = {}

  validation {
    condition     = alltrue([for it in concat(var.alarm_emails.page, var.alarm_emails.ticket) : can(regex("^[^@ ]+@[^@ ]+$", it))])
    error_message = "alarm_emails must be addresses of mail."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 400

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one that CloudWatch has, such as 30, 90 or 400."
  }
}

variable "firewall" {
  description = "The web application firewall of the alb: whether there is one, and requests (handshakes) per address in five minutes."
  type = object({
    enabled    = optional(bool, true)
    rate_limit = optional(number, 2000)
  })
  default = {}

  validation {
    condition     = 10 <= var.firewall.rate_limit
    error_message = "firewall.rate_limit must be at least 10."
  }
}

variable "access_logs_days" {
  description = "Days that the load balancer's access logs are kept."
  type        = number
  default     = 90

  validation {
    condition     = 1 <= var.access_logs_days
    error_message = "access_logs_days must be at least 1."
  }
}

variable "kms_key_arn" {
  description = "Key for logs, secrets, topics and data at rest, whose policy must let logs, cloudwatch and events of the account use it, as that in logs.tf does; null makes one."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key, not of an alias."
  }
}

variable "secrets_kms_key_arns" {
  description = "Keys that the secrets named above are encrypted with, where they are neither kms_key_arn nor AWS's own."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for it in var.secrets_kms_key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", it))])
    error_message = "secrets_kms_key_arns must be ARNs of keys, not of aliases."
  }
}

variable "deletion_protection" {
  description = "Whether load balancer, database and logs are kept from `terraform destroy`."
  type        = bool
  default     = true
}

variable "vpc_id" {
  description = "The VPC"
  type        = string
}

variable "subnet_id" {
  description = "A public subnet of it"
  type        = string
}

variable "domain" {
  description = "The name that clients use, and the realm"
  type        = string
}

variable "package_url" {
  description = "Where the instance fetches the Debian package from, such as a presigned URL of S3"
  type        = string
}

variable "instance_type" {
  description = "Network-optimised types relay most"
  type        = string
  default     = "c6in.large"
}

variable "key_name" {
  description = "A key pair, to log in"
  type        = string
  default     = null
}

variable "min_port" {
  description = "Lowest relayed port"
  type        = number
  default     = 49152
}

variable "max_port" {
  description = "Highest relayed port"
  type        = number
  default     = 65535
}

variable "metrics_from" {
  description = "Who may read metrics and health, such as the VPC's range"
  type        = list(string)
  default     = []
}

variable "ssh_from" {
  description = "Who may log in"
  type        = list(string)
  default     = []
}

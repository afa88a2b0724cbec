# One relay on EC2 with an address that stays: terraform init, terraform apply -var domain=turn.example.org
# The instance finds its public address by the metadata service (external-ip=auto).

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
    random = {
      source  = "hashicorp/random"
      version = ">= 3.5"
    }
  }
}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/debian/release/12/latest/amd64"
}

# What an application mints credentials with.
resource "random_password" "secret" {
  length  = 43
  special = false
}

resource "aws_security_group" "relay" {
  name_prefix = "turnpike-"
  description = "STUN and TURN"
  vpc_id      = var.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

# What `turnpike firewall` prints: clients come in by these, whoever they are.
resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = local.client_rules

  security_group_id = aws_security_group.relay.id
  description       = each.value.description
  ip_protocol       = each.value.protocol
  from_port         = each.value.from
  to_port           = each.value.to
  cidr_ipv4         = "0.0.0.0/0"
}

# Metrics and health are for the network around it alone.
resource "aws_vpc_security_group_ingress_rule" "metrics" {
  for_each = toset(var.metrics_from)

  security_group_id = aws_security_group.relay.id
  description       = "Metrics and health"
  ip_protocol       = "tcp"
  from_port         = 9641
  to_port           = 9641
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each = toset(var.ssh_from)

  security_group_id = aws_security_group.relay.id
  description       = "SSH"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_ipv4         = each.value
}

# To any peer. With all traffic allowed both ways the group tracks no connections of the relay's ports.
resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.relay.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_instance" "relay" {
  ami                         = data.aws_ssm_parameter.image.value
  instance_type               = var.instance_type
  subnet_id                   = var.subnet_id
  vpc_security_group_ids      = [aws_security_group.relay.id]
  key_name                    = var.key_name
  user_data_replace_on_change = true

  # IMDSv2 alone; one hop, because the server is no container on a bridge.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  user_data = templatefile("${path.module}/cloud-init.yaml", {
    package_url = var.package_url
    realm       = var.domain
    secret      = random_password.secret.result
    min_port    = var.min_port
    max_port    = var.max_port
  })

  tags = {
    Name = "turnpike"
  }
}

# Clients are told this address, so it must outlive the instance.
resource "aws_eip" "relay" {
  domain = "vpc"
}

resource "aws_eip_association" "relay" {
  allocation_id = aws_eip.relay.id
  instance_id   = aws_instance.relay.id
}

locals {
  client_rules = {
    turn_udp  = { description = "TURN over UDP", protocol = "udp", from = 3478, to = 3478 }
    turn_tcp  = { description = "TURN over TCP, and TLS on the same port", protocol = "tcp", from = 3478, to = 3478 }
    turns_tcp = { description = "TURN over TLS", protocol = "tcp", from = 5349, to = 5349 }
    turns_udp = { description = "TURN over DTLS", protocol = "udp", from = 5349, to = 5349 }
    relay_udp = { description = "Relayed media", protocol = "udp", from = var.min_port, to = var.max_port }
  }
}

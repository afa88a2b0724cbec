output "address" {
  description = "The public address; let the domain's A record name it"
  value       = aws_eip.relay.public_ip
}

output "uris" {
  description = "What clients are given"
  value = [
    "stun:${var.domain}:3478",
    "turn:${var.domain}:3478?transport=udp",
    "turn:${var.domain}:3478?transport=tcp",
  ]
}

output "secret" {
  description = "What applications mint credentials with"
  value       = random_password.secret.result
  sensitive   = true
}

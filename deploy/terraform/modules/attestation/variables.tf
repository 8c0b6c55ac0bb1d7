variable "project" {
  type        = string
  description = "Project ID."
}

variable "region" {
  type        = string
  description = "Region of the key."
}

variable "name" {
  type        = string
  description = "Name of the key ring, the key, the note, and the attestor."
}

variable "enforce" {
  type        = bool
  description = "Whether Cloud Run refuses other images. If not, the audit log names them."
}

variable "exempt_images" {
  type        = list(string)
  description = "Images that need no attestation. They can end in a wildcard."
}

variable "signer" {
  type        = string
  description = "Member that attests images."
}

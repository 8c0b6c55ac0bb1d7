# A cluster for deploy/k8s/overlays/gke: its nodes, its access to Google's APIs, and the accounts of its pods.

resource "google_project_service" "apis" {
  for_each = toset(["container", "dns"])

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}

resource "google_service_account" "nodes" {
  account_id   = "preptime-nodes"
  display_name = "Runs the nodes of the cluster"
}

# The nodes may write logs and metrics.
resource "google_project_iam_member" "nodes" {
  project = var.project
  role    = "roles/container.defaultNodeServiceAccount"
  member  = "serviceAccount:${google_service_account.nodes.email}"
}

# The nodes may pull images.
resource "google_artifact_registry_repository_iam_member" "nodes_pull" {
  repository = var.images
  location   = var.region
  role       = "roles/artifactregistry.reader"
  member     = "serviceAccount:${google_service_account.nodes.email}"
}

resource "google_container_cluster" "preptime" {
  #checkov:skip=CKV_GCP_12:Autopilot has Dataplane V2, which always enforces network policies.
  #checkov:skip=CKV_GCP_13:Clusters have no client certificates since version 1.12, unless they ask for them.
  #checkov:skip=CKV_GCP_20:The control plane has a DNS name, at which IAM checks every request (below).
  #checkov:skip=CKV_GCP_23:Autopilot clusters always have alias IP ranges (VPC-native networking).
  #checkov:skip=CKV_GCP_61:Flow logs belong to the network, which this module doesn't own. They cost more than the pods.
  #checkov:skip=CKV_GCP_65:The Kubernetes permissions of people come from IAM, because the namespace has one team.
  #checkov:skip=CKV_GCP_66:The release workflow verifies signatures. For attestations, see docs/deploy-gcp.md.
  #checkov:skip=CKV_GCP_69:Autopilot nodes always have GKE's metadata server, because Workload Identity is always on.
  name                = "preptime"
  location            = var.region
  enable_autopilot    = true
  resource_labels     = var.labels
  deletion_protection = var.deletion_protection

  release_channel {
    channel = "REGULAR"
  }

  cluster_autoscaling {
    auto_provisioning_defaults {
      service_account = google_service_account.nodes.email
    }
  }

  # Nodes have no public addresses. Google enables Private Google Access for their subnetwork.
  private_cluster_config {
    enable_private_nodes = true
  }

  # People reach the control plane by its name and their Google accounts.
  control_plane_endpoints_config {
    dns_endpoint_config {
      allow_external_traffic = true
    }
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.nodes_pull,
    google_project_iam_member.nodes,
    google_project_service.apis,
  ]
}

# Google's APIs have four private addresses, the only ones that pods can reach (deploy/k8s/overlays/gke/network.yaml).
resource "google_dns_managed_zone" "googleapis" {
  name        = "googleapis"
  dns_name    = "googleapis.com."
  description = "Private addresses of Google's APIs."
  visibility  = "private"

  private_visibility_config {
    networks {
      network_url = "projects/${var.project}/global/networks/default"
    }
  }

  depends_on = [google_project_service.apis]
}

resource "google_dns_record_set" "private" {
  managed_zone = google_dns_managed_zone.googleapis.name
  name         = "private.googleapis.com."
  type         = "A"
  ttl          = 300
  rrdatas      = [for last in range(8, 12) : "199.36.153.${last}"]
}

resource "google_dns_record_set" "all" {
  managed_zone = google_dns_managed_zone.googleapis.name
  name         = "*.googleapis.com."
  type         = "CNAME"
  ttl          = 300
  rrdatas      = [google_dns_record_set.private.name]
}

# The pods may act as the Google accounts of their roles.
resource "google_service_account_iam_member" "pods" {
  for_each = var.accounts

  service_account_id = each.value
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[preptime/${each.key}]"

  # The cluster creates the identity pool.
  depends_on = [google_container_cluster.preptime]
}

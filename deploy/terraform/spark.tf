# Serverless Spark batches, for more orders than one machine can train on (docs/scale.md).

module "spark" {
  source = "./modules/spark"
  count  = var.spark == null ? 0 : 1

  project             = var.project
  region              = var.region
  images              = google_artifact_registry_repository.images.name
  store_bucket        = module.store.store_bucket
  data_bucket         = module.store.data_bucket
  dataset             = module.warehouse.dataset
  starter             = google_service_account.roles["jobs"]
  subnetwork          = var.spark.subnetwork
  range               = var.spark.range
  kms_key             = var.kms_key
  deletion_protection = var.deletion_protection

  depends_on = [google_project_service.apis, google_kms_crypto_key_iam_member.service_agents]
}

# The jobs may read what the batches wrote: a history for preptime refresh, or training data for preptime train.
resource "google_storage_bucket_iam_member" "jobs_read_batches" {
  count = var.spark == null ? 0 : 1

  bucket = module.spark[0].bucket
  role   = "roles/storage.objectViewer"
  member = local.member["jobs"]
}

"""The present names of a config's keys that had other names before its parts had names."""

MOVED = {
    "model": "network.model",
    "backbone": "network.trunk.name",
    "widths": "network.trunk.widths",
    "attention_widths": "network.attention_trunk.widths",
    "warp": "network.warp",
    "warp_options": "network.warp",
    "parameters": "network.parameters",
    "pool": "network.pool",
    "sampled": "network.sampled",
    "placed": "network",
    "house_numbers": "network",
    "streams": "network",
    "tasn": "network",
    "distortion": "input.distortion",
    "photo": "input",
    "consistency": "objective",
    "distillation": "objective",
    "images_per_class": "batches.images_per_class",
    "triplet_batch": "batches.triplet_batch",
    "learning_rate_batch": "learning_rate, which follows batch_size",
}

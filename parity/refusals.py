REFUSING = ("model", "generate_samples", "train_step", "validate", "preprocess")

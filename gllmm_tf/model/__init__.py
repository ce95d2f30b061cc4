"""The trainable network: transforms, mixture, context, prior, gains."""

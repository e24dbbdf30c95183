"""Streams: cardwatch on Kafka. Topics, codecs, the batch seam on Faust, checkpoints and the roles of a worker."""

"""Why a trained classifier says what it says: heat maps, embeddings, labels that may be wrong."""

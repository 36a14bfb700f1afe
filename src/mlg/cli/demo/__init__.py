"""The story of one recommender, told by a real instance and confirmed by its graph."""

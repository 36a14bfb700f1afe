"""Events become nodes and edges; recording, lineage, audit."""

"""Values: documents, inputs and answers."""

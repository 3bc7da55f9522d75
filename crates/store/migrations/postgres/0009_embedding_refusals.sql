-- Texts that an embedder refuses: they stay without a vector, and are not bought again.
CREATE TABLE memory_refusals (
    number      BIGINT NOT NULL REFERENCES memory_representations (number) ON DELETE CASCADE,
    embedder_id UUID   NOT NULL REFERENCES embedders (id) ON DELETE CASCADE,
    PRIMARY KEY (number, embedder_id)
);

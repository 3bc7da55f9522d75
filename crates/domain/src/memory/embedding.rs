//! A vector of a text: right in its dimension, finite, not zero, of length 1.

/// Numbers are no embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEmbedding {
    /// Of another dimension than the embedder's.
    #[error(
        "the embedding has {found} dimensions, the embedder is set to {expected}; set its dimensions to what its model gives"
    )]
    Dimensions {
        /// What the embedder has.
        expected: usize,
        /// What came.
        found: usize,
    },
    /// One of the numbers is not finite.
    #[error("the embedding holds a number that is not finite")]
    NotFinite,
    /// It points nowhere.
    #[error("the embedding is zero")]
    Zero,
}

/// The vector of a text, of length 1, so that the cosine of two is their dot product.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(Box<[f32]>);

/// Sums are made in so many lanes, for the compiler to do them at once.
const LANES: usize = 16;

impl Embedding {
    /// Validates and normalises.
    ///
    /// # Errors
    /// When the numbers are not `dimensions` many, one is not finite, or all are zero.
    pub fn new(values: &[f32], dimensions: usize) -> Result<Self, BadEmbedding> {
        if values.len() != dimensions {
            return Err(BadEmbedding::Dimensions { expected: dimensions, found: values.len() });
        }
        if !values.iter().all(|value| value.is_finite()) {
            return Err(BadEmbedding::NotFinite);
        }
        let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if length == 0.0 {
            return Err(BadEmbedding::Zero);
        }
        Ok(Self(values.iter().map(|value| (f64::from(*value) / length) as f32).collect()))
    }

    /// As it was kept by [`Embedding::to_bytes`].
    ///
    /// # Errors
    /// As [`Embedding::new`].
    pub fn from_bytes(bytes: &[u8], dimensions: usize) -> Result<Self, BadEmbedding> {
        let (numbers, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() || numbers.len() != dimensions {
            return Err(BadEmbedding::Dimensions { expected: dimensions, found: numbers.len() });
        }
        let values: Box<[f32]> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        let dot = dot(&values, &values);
        // What was kept has the length 1 already; to normalise it again would change its last bits.
        if (dot - 1.0).abs() < 1e-4 { Ok(Self(values)) } else { Self::new(&values, dimensions) }
    }

    /// As it is kept: 32-bit floating-point numbers, the lowest byte first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Its numbers.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// How many dimensions it has.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.0.len()
    }

    /// The cosine with another one of the same dimension: -1 to 1.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> f32 {
        dot(&self.0, &other.0)
    }
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    let (ones, one_rest) = one.as_chunks::<LANES>();
    let (others, other_rest) = other.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (one, other) in ones.iter().zip(others) {
        for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
            *sum += one * other;
        }
    }
    let rest: f32 = one_rest.iter().zip(other_rest).map(|(one, other)| one * other).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_direction_is_refused() {
        assert_eq!(Embedding::new(&[1.0], 2), Err(BadEmbedding::Dimensions { expected: 2, found: 1 }));
        assert_eq!(Embedding::new(&[1.0, f32::NAN], 2), Err(BadEmbedding::NotFinite));
        assert_eq!(Embedding::new(&[f32::INFINITY, 1.0], 2), Err(BadEmbedding::NotFinite));
        assert_eq!(Embedding::new(&[0.0, -0.0], 2), Err(BadEmbedding::Zero));
    }

    #[test]
    fn every_embedding_has_the_length_1() {
        for values in [[3.0, 4.0], [1e-30, 0.0], [3e38, 3e38]] {
            let embedding = Embedding::new(&values, 2).unwrap();
            assert!((embedding.cosine(&embedding) - 1.0).abs() < 1e-6, "{embedding:?}");
        }
    }

    #[test]
    fn an_embedding_reads_back_from_its_bytes_to_the_last_bit() {
        let values: Vec<f32> = (0..37).map(|number| (number as f32).sin()).collect();
        let embedding = Embedding::new(&values, 37).unwrap();
        assert_eq!(Embedding::from_bytes(&embedding.to_bytes(), 37).unwrap(), embedding);
        assert!(Embedding::from_bytes(&embedding.to_bytes(), 36).is_err());
        assert!(Embedding::from_bytes(&embedding.to_bytes()[1..], 37).is_err());
    }

    #[test]
    fn the_cosine_is_that_of_the_definition() {
        let one: Vec<f32> = (0..100).map(|number| (number as f32 * 0.7).sin()).collect();
        let other: Vec<f32> = (0..100).map(|number| (number as f32 * 0.3).cos()).collect();
        let length = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let dot: f64 = one.iter().zip(&other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum();
        let expected = dot / length(&one) / length(&other);
        let found = Embedding::new(&one, 100).unwrap().cosine(&Embedding::new(&other, 100).unwrap());
        assert!((f64::from(found) - expected).abs() < 1e-6);
    }
}

//! A small model of the BERT family that embeds in this process: no network, no key, no price.
//!
//! The folder is one as sentence-transformers writes it: `config.json`, `tokenizer.json`, `model.safetensors`, and
//! `1_Pooling/config.json` where the model wants something else than the mean. Nothing is downloaded. One batch is computed at a
//! time, on the threads that `RAYON_NUM_THREADS` allows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use privet_domain::memory::embedder::{EmbedError, EmbedFuture, EmbedLimits, Embedded, Embedder, check_vectors};
use serde::Deserialize;
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};
use tokio::sync::Semaphore;

/// Texts that are computed together. More need more memory and are hardly faster.
const TOGETHER: usize = 16;
/// A longer text is cut to so many tokens, also where the model takes more: its cost grows with the square.
const TOKENS_MAX: usize = 512;
/// A model with room for fewer tokens holds no text.
const TOKENS_MIN: usize = 8;
/// Bytes of a file of the folder.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Why a folder is no model.
#[derive(Debug, thiserror::Error)]
pub enum LocalModelError {
    /// A file is missing or cannot be read.
    #[error("cannot read the embedding model's {}: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("the embedding model's {} is not usable: {reason}", file.display())]
    Wrong {
        /// Which.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The model is of another family.
    #[error("the embedding model is a `{found}`; models of the type `bert` can be loaded (MiniLM, E5, BGE)")]
    Family {
        /// What it is.
        found: String,
    },
}

/// How the vectors of tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pooling {
    Mean,
    /// That of the first token.
    First,
}

/// A loaded model.
struct LocalModel {
    bert: BertModel,
    tokenizer: Tokenizer,
    pooling: Pooling,
    dimensions: usize,
}

/// The embedder over a model in this process.
pub struct LocalEmbedder {
    model: Arc<LocalModel>,
    gate: Arc<Semaphore>,
}

impl LocalEmbedder {
    /// Loads a model. It takes seconds and blocks; a running server calls it off its runtime.
    ///
    /// # Errors
    /// When a file is missing, damaged, or of a model that cannot be loaded.
    pub fn load(folder: &Path) -> Result<Self, LocalModelError> {
        let config_file = folder.join("config.json");
        let config_bytes = read(&config_file)?;
        let family: Family = parse(&config_file, &config_bytes)?;
        if family.model_type != "bert" {
            return Err(LocalModelError::Family { found: family.model_type });
        }
        let config: Config = parse(&config_file, &config_bytes)?;
        check(&config).map_err(|reason| wrong(&config_file, reason))?;
        let tokenizer_file = folder.join("tokenizer.json");
        let tokens_max = config.max_position_embeddings.min(TOKENS_MAX);
        let tokenizer = tokenizer(&read(&tokenizer_file)?, config.pad_token_id, tokens_max)
            .map_err(|reason| wrong(&tokenizer_file, reason))?;
        if tokenizer.get_vocab_size(true) > config.vocab_size {
            return Err(wrong(&tokenizer_file, "it knows more words than the model"));
        }
        let pooling_file = folder.join("1_Pooling").join("config.json");
        let pooling = if pooling_file.exists() { pooling(&pooling_file)? } else { Pooling::Mean };
        let weights_file = folder.join("model.safetensors");
        let weights = read(&weights_file)?;
        let bert = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)
            .and_then(|weights| BertModel::load(weights, &config))
            .map_err(|error| wrong(&weights_file, error.to_string()))?;
        let model = LocalModel { bert, tokenizer, pooling, dimensions: config.hidden_size };
        Ok(Self { model: Arc::new(model), gate: Arc::new(Semaphore::new(1)) })
    }

    async fn call(&self, texts: &[&str]) -> Result<Embedded, EmbedError> {
        let transient = |reason: String| EmbedError::Transient { reason };
        let owned: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        let place = self.gate.clone().acquire_owned().await.map_err(|error| transient(error.to_string()))?;
        let model = self.model.clone();
        // It goes on to its end, and keeps its place, also when nobody waits any more.
        let computed = tokio::task::spawn_blocking(move || {
            let computed = model.embed(&owned);
            drop(place);
            computed
        });
        let vectors = computed.await.map_err(|error| transient(error.to_string()))?.map_err(transient)?;
        check_vectors(&vectors, self.model.dimensions)
            .map_err(|(_, fault)| EmbedError::Refused { reason: fault.to_string() })?;
        Ok(Embedded { vectors, tokens: None })
    }
}

impl Embedder for LocalEmbedder {
    fn dimensions(&self) -> usize {
        self.model.dimensions
    }

    fn limits(&self) -> EmbedLimits {
        EmbedLimits { texts_max: 4 * TOGETHER, ..EmbedLimits::default() }
    }

    fn embed<'a>(&'a self, texts: &'a [&'a str]) -> EmbedFuture<'a> {
        Box::pin(self.call(texts))
    }
}

impl LocalModel {
    fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, String> {
        let mut vectors = Vec::with_capacity(texts.len());
        for texts in texts.chunks(TOGETHER) {
            vectors.extend(self.embed_together(texts).map_err(|error| error.to_string())?);
        }
        Ok(vectors)
    }

    fn embed_together(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, candle_core::Error> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings = self.tokenizer.encode_batch(texts, true).map_err(candle_core::Error::msg)?;
        let matrix = |of: fn(&tokenizers::Encoding) -> &[u32]| {
            let rows = encodings.iter().map(|encoding| Tensor::new(of(encoding), &Device::Cpu));
            Tensor::stack(&rows.collect::<Result<Vec<_>, _>>()?, 0)
        };
        let ids = matrix(tokenizers::Encoding::get_ids)?;
        let mask = matrix(tokenizers::Encoding::get_attention_mask)?;
        let tokens = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let pooled = match self.pooling {
            Pooling::First => tokens.narrow(1, 0, 1)?.squeeze(1)?,
            Pooling::Mean => {
                let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
                tokens.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?
            }
        };
        let lengths = pooled.sqr()?.sum_keepdim(1)?.sqrt()?;
        pooled.broadcast_div(&lengths)?.to_vec2()
    }
}

#[derive(Deserialize)]
struct Family {
    #[serde(default)]
    model_type: String,
}

fn check(config: &Config) -> Result<(), String> {
    if config.max_position_embeddings < TOKENS_MIN {
        return Err(format!(
            "it has room for {} tokens, and {TOKENS_MIN} are the least",
            config.max_position_embeddings
        ));
    }
    let heads = config.num_attention_heads;
    if config.hidden_size == 0 || heads == 0 || !config.hidden_size.is_multiple_of(heads) {
        return Err(format!("{} dimensions cannot be shared by {heads} heads", config.hidden_size));
    }
    Ok(())
}

fn tokenizer(bytes: &[u8], pad_id: usize, tokens_max: usize) -> Result<Tokenizer, String> {
    let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(|error| error.to_string())?;
    let pad_id = u32::try_from(pad_id).map_err(|error| error.to_string())?;
    let pad_token = tokenizer.id_to_token(pad_id).ok_or_else(|| format!("it has no token {pad_id} to fill up with"))?;
    tokenizer.with_padding(Some(PaddingParams { pad_id, pad_token, ..PaddingParams::default() }));
    let truncation = TruncationParams { max_length: tokens_max, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(|error| error.to_string())?;
    Ok(tokenizer)
}

fn pooling(file: &Path) -> Result<Pooling, LocalModelError> {
    #[derive(Deserialize)]
    struct Modes {
        #[serde(default)]
        pooling_mode_cls_token: bool,
        #[serde(default)]
        pooling_mode_mean_tokens: bool,
    }
    let modes: Modes = parse(file, &read(file)?)?;
    match (modes.pooling_mode_cls_token, modes.pooling_mode_mean_tokens) {
        (false, true) => Ok(Pooling::Mean),
        (true, false) => Ok(Pooling::First),
        _ => Err(wrong(file, "it must want either the mean or the first token's vector")),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, LocalModelError> {
    let failed = |error| LocalModelError::File { file: file.to_owned(), error };
    let bytes = std::fs::metadata(file).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(wrong(file, format!("it has {bytes} bytes, and {FILE_BYTES_MAX} are the most")));
    }
    std::fs::read(file).map_err(failed)
}

fn parse<'a, T: Deserialize<'a>>(file: &Path, bytes: &'a [u8]) -> Result<T, LocalModelError> {
    serde_json::from_slice(bytes).map_err(|error| wrong(file, error.to_string()))
}

fn wrong(file: &Path, reason: impl Into<String>) -> LocalModelError {
    LocalModelError::Wrong { file: file.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use candle_nn::VarMap;
    use serde_json::{Value, json};

    use super::*;

    const WORDS: [&str; 12] =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "my", "cat", "is", "called", "mru", "##czek", "the", "sky"];
    const DIMENSIONS: usize = 8;

    fn config(layers: usize) -> Value {
        json!({"model_type": "bert", "vocab_size": WORDS.len(), "hidden_size": DIMENSIONS, "num_hidden_layers": layers,
               "num_attention_heads": 2, "intermediate_size": 16, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
               "max_position_embeddings": 16, "type_vocab_size": 2, "initializer_range": 0.02, "layer_norm_eps": 1e-12,
               "pad_token_id": 0})
    }

    fn words() -> Value {
        let vocabulary: serde_json::Map<String, Value> =
            WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
        let special = |id: usize| {
            json!({"id": id, "content": WORDS[id], "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        };
        let end = |word: &str| json!({"SpecialToken": {"id": word, "type_id": 0}});
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [special(0), special(1), special(2), special(3)],
            "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                           "strip_accents": null, "lowercase": true},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {"type": "TemplateProcessing",
                "single": [end("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, end("[SEP]")],
                "pair": [end("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, end("[SEP]"),
                         {"Sequence": {"id": "B", "type_id": 1}}, end("[SEP]")],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                                   "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
            "decoder": null,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": vocabulary},
        })
    }

    /// Numbers that look random and are the same every time.
    fn numbers(seed: &mut u64, shape: &[usize]) -> Tensor {
        let values: Vec<f32> = (0..shape.iter().product::<usize>())
            .map(|_| {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((*seed >> 40) as f32 / (1_u64 << 24) as f32 - 0.5) * 0.5
            })
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// A folder with a tiny model. Its weights are whatever the seed gives.
    fn folder(layers: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, value: &Value| std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        write("config.json", &config(layers));
        write("tokenizer.json", &words());
        let map = VarMap::new();
        let builder = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
        BertModel::load(builder, &serde_json::from_value(config(layers)).unwrap()).unwrap();
        let mut names: Vec<_> =
            map.data().lock().unwrap().iter().map(|(name, var)| (name.clone(), var.clone())).collect();
        names.sort_by(|a, b| a.0.cmp(&b.0));
        let mut seed = 7;
        for (_, var) in names {
            var.set(&numbers(&mut seed, var.dims())).unwrap();
        }
        map.save(folder.path().join("model.safetensors")).unwrap();
        folder
    }

    fn close(a: &[f32], b: &[f32]) {
        assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} is not {b:?}");
    }

    async fn embed(embedder: &LocalEmbedder, texts: &[&str]) -> Vec<Vec<f32>> {
        embedder.embed(texts).await.unwrap().vectors
    }

    #[tokio::test]
    async fn a_text_has_the_same_vector_alone_and_among_others() {
        let folder = folder(2);
        let embedder = LocalEmbedder::load(folder.path()).unwrap();
        let long = "my cat is called Mruczek the sky";
        let mut texts = vec!["my cat", long, "the sky"];
        texts.extend(["cat"; 20]);
        let together = embed(&embedder, &texts).await;
        assert_eq!((together.len(), embedder.dimensions()), (23, DIMENSIONS));
        for (text, vector) in texts.iter().zip(&together) {
            close(vector, &embed(&embedder, &[text]).await[0]);
            assert!((vector.iter().map(|value| value * value).sum::<f32>() - 1.0).abs() < 1e-5);
        }
        let cosine: f32 = together[0].iter().zip(&together[2]).map(|(a, b)| a * b).sum();
        assert!(cosine < 0.999, "{cosine}");
        close(&together[3], &embed(&embedder, &["CAT"]).await[0]);
    }

    /// Without layers the model is its table of words, so that the vector can be computed by hand.
    #[tokio::test]
    async fn the_mean_is_that_of_the_texts_own_tokens() {
        let folder = folder(0);
        let tensors = candle_core::safetensors::load(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
        let table = |name: &str| tensors[&format!("embeddings.{name}")].to_vec2::<f32>().unwrap();
        let row = |name: &str| tensors[&format!("embeddings.{name}")].to_vec1::<f32>().unwrap();
        let (words, places, types) = (
            table("word_embeddings.weight"),
            table("position_embeddings.weight"),
            table("token_type_embeddings.weight"),
        );
        let (scale, shift) = (row("LayerNorm.weight"), row("LayerNorm.bias"));
        let mut sum = [0.0_f32; DIMENSIONS];
        // [CLS] my cat [SEP]
        for (place, word) in [2_usize, 4, 5, 3].into_iter().enumerate() {
            let token: Vec<f32> = (0..DIMENSIONS).map(|n| words[word][n] + places[place][n] + types[0][n]).collect();
            let mean = token.iter().sum::<f32>() / DIMENSIONS as f32;
            let variance = token.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / DIMENSIONS as f32;
            for n in 0..DIMENSIONS {
                sum[n] += (token[n] - mean) / variance.sqrt() * scale[n] + shift[n];
            }
        }
        let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
        let expected: Vec<f32> = sum.iter().map(|value| value / length).collect();
        let embedder = LocalEmbedder::load(folder.path()).unwrap();
        close(&embed(&embedder, &["My cat", "my cat is called Mruczek"]).await[0], &expected);
    }

    #[tokio::test]
    async fn the_first_tokens_vector_is_taken_where_the_model_wants_it() {
        let folder = folder(0);
        std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
        let modes = json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false});
        std::fs::write(folder.path().join("1_Pooling/config.json"), modes.to_string()).unwrap();
        let embedder = LocalEmbedder::load(folder.path()).unwrap();
        // Without layers the first token knows nothing of the others.
        let vectors = embed(&embedder, &["my cat", "the sky"]).await;
        close(&vectors[0], &vectors[1]);
    }

    #[tokio::test]
    async fn a_text_of_any_length_has_a_vector() {
        let embedder = LocalEmbedder::load(folder(1).path()).unwrap();
        let vectors = embed(&embedder, &["cat ".repeat(1_000).as_str(), " ", "żółw 🐢"]).await;
        assert_eq!(vectors.len(), 3);
        assert_eq!(embed(&embedder, &[]).await, Vec::<Vec<f32>>::new());
    }

    #[test]
    fn a_folder_that_is_no_model_says_what_is_wrong() {
        let why = |folder: &Path| LocalEmbedder::load(folder).err().unwrap().to_string();
        let folder = folder(1);
        let file = |name: &str| folder.path().join(name);
        let whole = std::fs::read(file("model.safetensors")).unwrap();
        std::fs::write(file("model.safetensors"), &whole[..whole.len() / 2]).unwrap();
        assert!(why(folder.path()).contains("model.safetensors is not usable"));
        std::fs::remove_file(file("model.safetensors")).unwrap();
        assert!(why(folder.path()).contains("cannot read the embedding model's"));
        std::fs::write(file("tokenizer.json"), "{}").unwrap();
        assert!(why(folder.path()).contains("tokenizer.json is not usable"));
        let mut other = config(1);
        other["num_attention_heads"] = json!(3);
        std::fs::write(file("config.json"), other.to_string()).unwrap();
        assert!(why(folder.path()).contains("3 heads"));
        other["model_type"] = json!("llama");
        std::fs::write(file("config.json"), other.to_string()).unwrap();
        assert!(why(folder.path()).contains("`llama`"));
    }
}

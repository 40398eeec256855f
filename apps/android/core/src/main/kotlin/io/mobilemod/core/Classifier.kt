package io.mobilemod.core

import io.mobilemod.core.harness.Engine

/** A class with its share of all, 0 to 1. */
data class Labelled(
    val label: String,
    val probability: Float,
)

/** What a classifier says of an image, and how long it took. */
data class Classification(
    val top: List<Labelled>,
    val preprocessMs: Double,
    val inferenceMs: Double,
)

/**
 * A model with its labels and preprocessing: a decoded image to the best classes. For one thread at a
 * time. [latency] holds the last 100 inference times.
 */
class Classifier(
    private val manifest: Manifest,
    private val engine: Engine,
    private val nanos: () -> Long = System::nanoTime,
) : AutoCloseable {
    private val preprocessor = Preprocessor(manifest.preprocess)
    private val latency = RollingWindow(LATEST)

    /** What runs the model. */
    val runtime: String get() = engine.runtime

    /** Percentiles of the last 100 inference times in ms; null before the first. */
    fun latency(): Summary? = latency.summary()

    /** The best [k] classes of [image]. */
    fun classify(
        image: DecodedImage,
        k: Int = 5,
    ): Classification {
        val began = nanos()
        val input = preprocessor.tensor(image, engine.layout)
        val prepared = nanos()
        val logits = engine.run(input)
        val inference = (nanos() - prepared) / NANOS_PER_MS
        if (logits.size != manifest.labels.size) {
            throw JsonException("the model has ${logits.size} outputs, manifest.json ${manifest.labels.size} labels")
        }
        latency.add(inference)
        val shares = softmax(logits)
        val top = topK(logits, k).map { Labelled(manifest.labels[it.index], shares[it.index]) }
        return Classification(top, (prepared - began) / NANOS_PER_MS, inference)
    }

    override fun close() = engine.close()

    private companion object {
        const val LATEST = 100
        const val NANOS_PER_MS = 1e6
    }
}

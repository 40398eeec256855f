package io.mobilemod.core

import io.mobilemod.core.harness.Engine
import io.mobilemod.core.maps.ClassMap
import io.mobilemod.core.maps.MapSize
import io.mobilemod.core.maps.Window
import io.mobilemod.core.maps.window

/** A class with its share of all, 0 to 1: its probability, or its part of a map's pixels. */
data class Labelled(
    val index: Int,
    val label: String,
    val share: Float,
)

/** A map of an image's classes: bars beside the image have none. [width], [height]: the upright image's. */
class Segmented(
    val map: ClassMap,
    val window: Window,
    val width: Int,
    val height: Int,
)

/** What a model says of an image, and how long it took: the best classes, or all of a map. */
data class Classification(
    val top: List<Labelled>,
    val segmented: Segmented?,
    val preprocessMs: Double,
    val inferenceMs: Double,
)

/**
 * The model [file] with its labels and preprocessing: a decoded image to the best classes, or to a map
 * of them. For one thread at a time. [latency] holds the last 100 inference times.
 */
class Classifier(
    private val manifest: Manifest,
    private val file: ModelFile,
    private val engine: Engine,
    private val nanos: () -> Long = System::nanoTime,
) : AutoCloseable {
    private val preprocessor = Preprocessor(manifest.preprocess)
    private val latency = RollingWindow(LATEST)

    /** What runs the model. */
    val runtime: String get() = engine.runtime

    /** Percentiles of the last 100 inference times in ms; null before the first. */
    fun latency(): Summary? = latency.summary()

    /**
     * The best [k] classes of [image], or the classes of its map, most pixels first; a [smooth] map has
     * the size of the network's input.
     */
    fun classify(
        image: DecodedImage,
        k: Int = 5,
        smooth: Boolean = false,
    ): Classification {
        val began = nanos()
        val input = preprocessor.tensor(image, engine.layout)
        val prepared = nanos()
        val output = engine.run(input)
        val inference = (nanos() - prepared) / NANOS_PER_MS
        val told = manifest.mapOutput(output, file.target)
        val segmented = told?.let { segmented(image, if (smooth) it.smoothMap(inputSize) else it.map()) }
        val shares = segmented?.map?.shares()
        val top = shares?.map { labelled(it.code, it.share.toFloat()) } ?: best(output, k)
        latency.add(inference)
        return Classification(top, segmented, (prepared - began) / NANOS_PER_MS, inference)
    }

    private val inputSize = manifest.preprocess.run { MapSize(height, width) }

    private fun segmented(
        image: DecodedImage,
        map: ClassMap,
    ): Segmented {
        val turned = image.orientation in TURNED
        val (width, height) = if (turned) image.height to image.width else image.width to image.height
        val window = manifest.preprocess.window(width, height)
        return Segmented(window.withoutBars(map), window, width, height)
    }

    private fun best(
        logits: FloatArray,
        k: Int,
    ): List<Labelled> {
        if (logits.size != manifest.labels.size) {
            throw JsonException("the model has ${logits.size} outputs, manifest.json ${manifest.labels.size} labels")
        }
        val shares = softmax(logits)
        return topK(logits, k).map { labelled(it.index, shares[it.index]) }
    }

    private fun labelled(
        index: Int,
        share: Float,
    ) = Labelled(index, manifest.labels[index], share)

    override fun close() = engine.close()

    private companion object {
        const val LATEST = 100
        const val NANOS_PER_MS = 1e6

        /** EXIF orientations in which rows are columns. */
        val TURNED = 5..8
    }
}

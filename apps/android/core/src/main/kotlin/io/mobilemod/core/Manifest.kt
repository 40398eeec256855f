package io.mobilemod.core

import io.mobilemod.core.maps.ClassMap
import io.mobilemod.core.maps.ClassOrder
import io.mobilemod.core.maps.MapCodes
import io.mobilemod.core.maps.MapOutput
import io.mobilemod.core.maps.MapSize
import io.mobilemod.core.maps.NONE
import io.mobilemod.core.maps.Runs
import io.mobilemod.core.maps.Scores

/** How a decoded image becomes the network's input, [height] x [width] pixels, as the manifest says it. */
data class PreprocessSpec(
    val height: Int,
    val width: Int,
    val cropFraction: Double,
    val interpolation: Interpolation,
    val mean: List<Float>,
    val std: List<Float>,
    val layout: Layout,
    val fit: Fit = Fit.CROP,
) {
    /** Pillow's filters. */
    enum class Interpolation { NEAREST, BILINEAR, BICUBIC }

    /** Order of the tensor: channels first (3, height, width) or last (height, width, 3). */
    enum class Layout { NCHW, NHWC }

    /** Whether the image keeps its sides' ratio and loses what juts out, takes the input's, or keeps its own with bars. */
    enum class Fit { CROP, STRETCH, LETTERBOX }

    companion object {
        private val KNOWN = setOf("size", "crop_fraction", "interpolation", "mean", "std", "color", "layout", "fit")

        /** From the manifest's `preprocess`; an unknown or impossible value is a [JsonException]. */
        fun of(json: JsonObject): PreprocessSpec {
            (json.keys - KNOWN).firstOrNull()?.let { throw JsonException("preprocess: unknown key '$it'") }
            val color = json.text("color")
            if (color != "RGB") throw JsonException("preprocess: color '$color'; this version knows RGB")
            val fraction = json.number("crop_fraction")
            if (!(fraction > 0 && fraction <= 1)) throw JsonException("preprocess: crop_fraction $fraction is not in (0, 1]")
            val std = channels(json, "std")
            if (std.any { it == 0f }) throw JsonException("preprocess: std has a zero")
            val (height, width) = sides(json)
            return PreprocessSpec(
                height,
                width,
                fraction,
                named(json, "interpolation", Interpolation.entries),
                channels(json, "mean"),
                std,
                named(json, "layout", Layout.entries),
                if ("fit" in json.keys) named(json, "fit", Fit.entries) else Fit.CROP,
            )
        }

        /** Height and width: one number is a square's. */
        private fun sides(json: JsonObject): List<Int> {
            val sides = json.wholesOrNull("size", atLeast = 1) ?: json.whole("size", atLeast = 1).let { listOf(it, it) }
            if (sides.size != 2) throw JsonException("preprocess: size has ${sides.size} values, not height and width")
            return sides
        }

        private fun <T : Enum<T>> named(
            json: JsonObject,
            key: String,
            values: List<T>,
        ): T {
            val text = json.text(key)
            return values.find { it.name.equals(text, ignoreCase = true) }
                ?: throw JsonException("preprocess: $key '$text' is not one of ${values.joinToString { it.name.lowercase() }}")
        }

        private fun channels(
            json: JsonObject,
            key: String,
        ): List<Float> {
            val values = json.numbers(key)
            if (values.size != 3) throw JsonException("preprocess: $key has ${values.size} values, not 3")
            return values.map { it.toFloat() }
        }
    }
}

/** A model file of the bundle. */
data class ModelFile(
    val file: String,
    val target: String,
    val precision: String,
    val sha256: String,
    val bytes: Long,
)

/** A golden image and what each model file answers for its pixels: logits, or, of networks of maps, a map. */
data class Golden(
    val image: String,
    val logits: Map<String, List<Float>> = emptyMap(),
    val maps: Map<String, ClassMap> = emptyMap(),
)

/**
 * A bundle's `manifest.json`: all that an app knows of its model. [map]: its size, where the files make
 * one; [givesClasses]: they give it themselves, uint8, not scores for each class at each pixel.
 */
data class Manifest(
    val model: String,
    val labels: List<String>,
    val preprocess: PreprocessSpec,
    val tools: Map<String, String>,
    val files: List<ModelFile>,
    val golden: List<Golden>,
    val map: MapSize? = null,
    val ids: List<String> = emptyList(),
    val givesClasses: Boolean = false,
) {
    /**
     * What an [output] of a file of [target] tells of a map, a [JsonException] where it is another than
     * this says; null where outputs are no maps.
     */
    fun mapOutput(
        output: FloatArray,
        target: String,
    ): MapOutput? =
        map?.let {
            if (givesClasses) MapCodes(output, it, labels.size) else Scores(output, it, labels.size, ClassOrder.of(target))
        }

    /** The files that one of [targets] (`tflite`, `executorch`) can run, int8 first. */
    fun runnable(targets: Collection<String>): List<ModelFile> = files.filter { it.target in targets }.sortedBy { it.precision != "int8" }

    /** The file of the same target with another precision, as an int8 file's float one; null where there is none. */
    fun counterpart(of: ModelFile): ModelFile? = files.find { it.target == of.target && it.precision != of.precision }

    /**
     * A warning where the tool that wrote the files of [target] isn't of the version that runs them
     * here, else null. An ExecuTorch file's answers can differ by steps between versions.
     */
    fun versionWarning(
        target: String,
        running: String,
    ): String? {
        val tool = mapOf("executorch" to "executorch", "tflite" to "ai-edge-litert")[target] ?: return null
        val wrote = tools[tool] ?: return null
        return if (wrote == running) null else "The model was written by $tool $wrote, this app runs $running."
    }

    companion object {
        const val SCHEMA = "mobilemod/manifest/1"
        private const val SCORES = "scores"
        private const val CLASSES = "classes"

        /** From the file's [text]; throws [JsonException] where something is missing or wrong. */
        fun parse(text: String): Manifest {
            val json = JsonObject.parse(text, "manifest.json")
            val schema = json.text("schema")
            if (schema != SCHEMA) throw JsonException("manifest.json: schema '$schema'; this app reads $SCHEMA")
            val labels = json.objects("labels").map { it.text("label") }
            val classes = json.whole("num_classes", atLeast = 1)
            if (labels.size != classes) throw JsonException("manifest.json: ${labels.size} labels for $classes classes")
            val map = if (json.raw()["map"] == null) null else mapSize(json, classes)
            val givesClasses = givesClasses(json, map)
            val tools = json.child("tools")
            return Manifest(
                json.text("model"),
                labels,
                PreprocessSpec.of(json.child("preprocess")),
                tools.keys.associateWith { tools.textOrNull(it) ?: "" },
                json.objects("files").map {
                    ModelFile(
                        it.text("file"),
                        it.text("target"),
                        it.text("precision"),
                        it.text("sha256"),
                        it.number("bytes").toLong(),
                    )
                },
                json.objects("golden").map { golden(it, classes, map) },
                map,
                json.objects("labels").map { it.text("id") },
                givesClasses,
            )
        }

        private fun givesClasses(
            json: JsonObject,
            map: MapSize?,
        ): Boolean {
            val answer = json.textOrNull("answer") ?: SCORES
            val known = if (map == null) listOf(SCORES) else listOf(SCORES, CLASSES)
            if (answer !in known) throw JsonException("manifest.json: answer '$answer' is not one of ${known.joinToString()}")
            return answer == CLASSES
        }

        private fun mapSize(
            json: JsonObject,
            classes: Int,
        ): MapSize {
            val sides = json.wholes("map", atLeast = 1)
            if (sides.size != 2 || sides.any { it > MOST_PIXELS }) {
                throw JsonException("manifest.json: map $sides is not height and width, from 1 to $MOST_PIXELS")
            }
            if (classes > NONE) throw JsonException("manifest.json: $classes classes; a map has at most $NONE")
            return MapSize(sides[0], sides[1])
        }

        private fun golden(
            json: JsonObject,
            classes: Int,
            map: MapSize?,
        ): Golden {
            val image = json.text("image")
            if (map != null) {
                val runs = json.child("runs")
                return Golden(image, maps = runs.keys.associateWith { readRuns(runs, it, map, image) })
            }
            val logits = json.child("logits")
            return Golden(
                image,
                logits.keys.associateWith { file ->
                    logits.numbers(file).map { it.toFloat() }.also {
                        if (it.size != classes) throw JsonException("manifest.json: $image has ${it.size} logits of $file, not $classes")
                    }
                },
            )
        }

        private fun readRuns(
            runs: JsonObject,
            file: String,
            map: MapSize,
            image: String,
        ) = Runs.read(runs.wholes(file).map { it.toLong() }, map, "manifest.json: $image, runs of $file")

        private const val MOST_PIXELS = 4096
    }
}

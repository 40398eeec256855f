package io.mobilemod.core

import io.mobilemod.core.harness.Device
import io.mobilemod.core.harness.Engine
import io.mobilemod.core.harness.LoadRequest
import io.mobilemod.core.maps.ClassOrder
import io.mobilemod.core.maps.MapSize
import io.mobilemod.core.maps.Runs
import io.mobilemod.core.maps.Scores
import java.awt.image.BufferedImage
import java.io.File
import java.security.MessageDigest
import javax.imageio.ImageIO
import kotlin.random.Random

/**
 * A bundle of any size and number of classes, made for tests of the protocol. Its "model file" holds
 * the seed of a [LinearEngine], so golden logits are computed, not invented.
 */
class TestBundle(
    val folder: File,
    val height: Int = 32,
    val width: Int = height,
    val classes: Int = 4,
    val interpolation: String = "bicubic",
    goldens: Int = 2,
    map: MapSize? = null,
) {
    val files = listOf("net_int8.tflite" to "int8", "net_float32.tflite" to "float32")
    val manifest: Manifest

    init {
        File(folder, "golden").mkdirs()
        for ((file, _) in files) File(folder, file).writeText("$SEED ${classes * (map?.pixels ?: 1)}")
        val preprocess =
            mapOf(
                "size" to if (height == width) height else listOf(height, width),
                "crop_fraction" to 0.9,
                "interpolation" to interpolation,
                "mean" to listOf(0.485, 0.456, 0.406),
                "std" to listOf(0.229, 0.224, 0.225),
                "color" to "RGB",
                "layout" to "NCHW",
            )
        val spec = PreprocessSpec.of(JsonObject.parse(Json.write(preprocess), "preprocess"))
        val preprocessor = Preprocessor(spec)
        val golden =
            (0 until goldens).map { i ->
                val image = writeNoise(File(folder, "golden/$i.png"), width, height, i)
                val output = LinearEngine(SEED, classes * (map?.pixels ?: 1)).run(preprocessor.normalize(preprocessor.asIs(image)))
                val (key, answer) =
                    if (map == null) "logits" to output else "runs" to Runs.of(Scores(output, map, classes, ClassOrder.LAST).map())
                mapOf("image" to "golden/$i.png", key to files.associate { it.first to answer })
            }
        val text =
            Json.write(
                mapOf(
                    "schema" to Manifest.SCHEMA,
                    "model" to "net",
                    "num_classes" to classes,
                    "map" to map?.let { listOf(it.height, it.width) },
                    "labels" to (0 until classes).map { mapOf("id" to "n$it", "label" to "class $it") },
                    "preprocess" to preprocess,
                    "tools" to mapOf("executorch" to "1.5.1", "ai-edge-litert" to "2.3.0"),
                    "files" to
                        files.map { (file, precision) ->
                            mapOf(
                                "file" to file,
                                "target" to "tflite",
                                "precision" to precision,
                                "sha256" to sha256(File(folder, file)),
                                "bytes" to 8,
                            )
                        },
                    "golden" to golden,
                ),
            )
        File(folder, "manifest.json").writeText(text)
        manifest = Manifest.parse(text)
    }

    companion object {
        const val SEED = 11

        fun sha256(file: File): String = MessageDigest.getInstance("SHA-256").digest(file.readBytes()).hex()

        /** Writes a PNG of noise and gives what it decodes to. */
        fun writeNoise(
            file: File,
            width: Int,
            height: Int,
            seed: Int,
        ): DecodedImage {
            val random = Random(seed)
            val image = BufferedImage(width, height, BufferedImage.TYPE_INT_RGB)
            for (y in 0 until height) for (x in 0 until width) image.setRGB(x, y, random.nextInt() and 0xffffff)
            ImageIO.write(image, "png", file)
            return decodePng(file)
        }

        fun decodePng(file: File): DecodedImage {
            val image = ImageIO.read(file) ?: throw IllegalArgumentException("${file.name} is no image")
            return DecodedImage(image.width, image.height, image.getRGB(0, 0, image.width, image.height, null, 0, image.width))
        }
    }
}

/** A stand-in for a network: [classes] sums with random weights. For tests of the protocol only. */
class LinearEngine(
    private val seed: Int,
    private val classes: Int,
) : Engine {
    override val runtime = "linear test engine"
    override val partitions = 1
    override val fallback: Int? = null
    override val layout = PreprocessSpec.Layout.NCHW
    private var weights = FloatArray(0)

    override fun run(input: FloatArray): FloatArray {
        if (weights.size !=
            input.size * classes
        ) {
            weights = Random(seed).let { r -> FloatArray(input.size * classes) { r.nextFloat() - 0.5f } }
        }
        return FloatArray(classes) { c ->
            var sum = 0.0
            for (i in input.indices) sum += input[i] * weights[c * input.size + i]
            sum.toFloat()
        }
    }

    override fun close() = Unit
}

/** This machine as a device; [engine] gets the file and the delegate. A [clock] in ns can be put in for time. */
open class TestDevice(
    private val clock: () -> Long = System::nanoTime,
    private val engine: (File, String) -> Engine = { file, _ ->
        val (seed, classes) = file.readText().split(" ").map { it.toInt() }
        LinearEngine(seed, classes)
    },
) : Device {
    val opened = ArrayList<String>()

    override fun facts(): Map<String, Any?> =
        mapOf(
            "device" to
                mapOf(
                    "kind" to "jvm",
                    "model" to null,
                    "os" to System.getProperty("os.name"),
                    "processor" to null,
                    "cores" to 2,
                    "memory_bytes" to null,
                ),
            "app" to mapOf("name" to "mobilemod core tests", "version" to "1"),
            "runtimes" to emptyMap<String, String>(),
        )

    override fun state(): Map<String, Any?> =
        mapOf("thermal" to null, "temperature_c" to null, "battery" to null, "memory_bytes" to null, "frequencies_hz" to null)

    override fun open(request: LoadRequest): Engine {
        opened.add("${request.model.name} ${request.threads} ${request.delegate}")
        return engine(request.model, request.delegate)
    }

    override fun decode(image: File): DecodedImage = TestBundle.decodePng(image)

    override fun nanos(): Long = clock()

    override fun wall(): String = "2026-01-01T00:00:00Z"
}

package io.mobilemod.core.harness

import io.mobilemod.core.Manifest
import io.mobilemod.core.SelfTest
import io.mobilemod.core.TestBundle
import java.io.File

/**
 * The golden self-test of a bundle's `.tflite` and `.pte` files on the JVM: `RunGoldenKt BUNDLE
 * COMMAND…`, with the model in another process as in `RunJob.kt`. Prints file, image and fault.
 */
fun main(arguments: Array<String>) {
    val folder = File(arguments[0])
    val manifest = Manifest.parse(File(folder, "manifest.json").readText())
    for (file in manifest.runnable(listOf("tflite", "executorch"))) {
        val model = File(folder, file.file)
        ProcessEngine(arguments.drop(1) + model.path, layoutOf(model)).use { engine ->
            val test = SelfTest(manifest, file.file)
            for (golden in manifest.golden) {
                val image = TestBundle.decodePng(File(folder, golden.image))
                val result = test.check(golden, image, engine.layout, engine::run)
                println("${file.file} ${golden.image} ${result.fault} ${result.difference} ${result.tolerance}")
            }
        }
    }
}

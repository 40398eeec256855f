package io.mobilemod.core.harness

import io.mobilemod.core.Manifest
import io.mobilemod.core.TestDevice
import java.io.File

/**
 * A job that is made of labelled pictures as the app makes it, run on the JVM: `RunLabelledKt BUNDLE
 * PICTURES OUT COMMAND…`, with the model in another process as in `RunJob.kt`. The job's folder lies in
 * OUT then, and its stream beside it; prints each file with its accuracy and drop.
 */
fun main(arguments: Array<String>) {
    val (bundle, pictures, out) = arguments.map(::File)
    val command = arguments.drop(3)
    val text = File(bundle, "manifest.json").readText()
    val labelled = labelledJob(bundle, text, pictures, out)
    val device = TestDevice(engine = { file, delegate -> ProcessEngine(command + file.path + delegate, layoutOf(file)) })
    val stream = File(out, "${labelled.job.id}.jsonl")
    LineFile(stream).use { Runner(labelled.job, labelled.folder, device, it).run() }
    val accuracy = stream.useLines { Accuracy(labelled, it) }
    for (one in accuracy.files()) println("${one.file.name} ${one.right} ${one.answered}")
    for (one in accuracy.against()) println("${one.file.name} ${one.twin.name} ${one.drop} ${one.changes.size}")
}

/** Of a bundle's `.tflite` files and the PNGs below [pictures]. */
fun labelledJob(
    bundle: File,
    manifest: String,
    pictures: File,
    out: File,
): LabelledJob {
    val parsed = Manifest.parse(manifest)
    val classes = ClassFolders(parsed)
    val found =
        pictures.walk().sorted().filter { it.isFile }.mapNotNull { file ->
            val name = file.relativeTo(pictures).path
            classes.of(name)?.let { Picture(name, it, file::inputStream) }
        }
    val models = parsed.runnable(listOf("tflite")).associateWith { File(bundle, it.file) }
    return LabelledJob.write(out, manifest, models, found, { File(bundle, it).readBytes() }, 1) { "cpu" }
}

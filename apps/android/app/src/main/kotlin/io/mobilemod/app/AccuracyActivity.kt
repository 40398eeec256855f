package io.mobilemod.app

import android.net.Uri
import android.os.Bundle
import android.view.View
import android.widget.Button
import android.widget.LinearLayout
import android.widget.ProgressBar
import android.widget.TextView
import androidx.activity.ComponentActivity
import androidx.activity.result.contract.ActivityResultContracts.OpenDocument
import androidx.activity.result.contract.ActivityResultContracts.OpenDocumentTree
import io.mobilemod.core.harness.Accuracy
import io.mobilemod.core.harness.Change
import io.mobilemod.core.harness.ClassFolders
import io.mobilemod.core.harness.Job
import io.mobilemod.core.harness.LabelledJob
import io.mobilemod.core.harness.LineFile
import io.mobilemod.core.harness.Listener
import io.mobilemod.core.harness.Picture
import io.mobilemod.core.harness.Runner
import io.mobilemod.core.harness.zippedPictures
import java.io.File
import java.io.IOException
import java.util.concurrent.Executors
import java.util.zip.ZipInputStream

/** Gives the pictures of the classes to what writes a job of them. */
private typealias Source = (ClassFolders, (Sequence<Picture>) -> LabelledJob) -> LabelledJob

/**
 * The chosen file and its float or int8 counterpart on labelled pictures, a folder or an archive of the
 * user's. It runs as a job of the harness; the stream is a record that the host reads like any other.
 */
class AccuracyActivity : ComponentActivity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val store = ModelStore(this)
    private var controls: Controls? = null
    private var record: File? = null
    private var shown = 0L

    @Volatile
    private var running = false

    private val folder get() = findViewById<Button>(R.id.folder)
    private val archive get() = findViewById<Button>(R.id.archive)
    private val stop get() = findViewById<Button>(R.id.stop)
    private val share get() = findViewById<Button>(R.id.share)
    private val status get() = findViewById<TextView>(R.id.status)
    private val progress get() = findViewById<ProgressBar>(R.id.progress)
    private val outcomes get() = findViewById<LinearLayout>(R.id.outcomes)

    private val pickFolder =
        registerForActivityResult(OpenDocumentTree()) { uri ->
            if (uri != null) start { classes, write -> write(PictureTree(contentResolver, uri, classes).pictures()) }
        }
    private val pickArchive =
        registerForActivityResult(OpenDocument()) { uri ->
            if (uri != null) start { classes, write -> unzip(uri, classes, write) }
        }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_accuracy)
        bindHeader(R.string.accuracy)
        folder.setOnClickListener { pickFolder.launch(null) }
        archive.setOnClickListener { pickArchive.launch(arrayOf("application/zip", "application/octet-stream")) }
        stop.setOnClickListener { running = false }
        share.setOnClickListener { record?.let { share(it, jobOf(it)) } }
        try {
            controls = Controls(this, store.manifest) {}
        } catch (error: Exception) {
            status.text = getString(R.string.no_bundle, error.message)
        }
        showRunning(false)
    }

    override fun onDestroy() {
        running = false
        worker.shutdown()
        super.onDestroy()
    }

    private fun unzip(
        uri: Uri,
        classes: ClassFolders,
        write: (Sequence<Picture>) -> LabelledJob,
    ): LabelledJob {
        val stream = contentResolver.openInputStream(uri) ?: throw IOException("the archive can't be opened")
        return ZipInputStream(stream.buffered()).use { write(zippedPictures(it, classes)) }
    }

    private fun start(source: Source) {
        val choice = controls?.choice ?: return
        outcomes.removeAllViews()
        showRunning(true)
        worker.execute {
            val text =
                try {
                    measure(choice, source)
                } catch (error: Exception) {
                    getString(R.string.accuracy_failed, error.message)
                }
            runOnUiThread {
                showRunning(false)
                status.text = text
            }
        }
    }

    // On the worker.
    private fun measure(
        choice: Choice,
        source: Source,
    ): String {
        say(getString(R.string.copying), 0, 0)
        val files = listOfNotNull(choice.file, store.manifest.counterpart(choice.file)).sortedBy { it.precision != "int8" }
        val root = File(cacheDir, "labelled")
        root.deleteRecursively()
        root.mkdirs()
        val write = { pictures: Sequence<Picture> ->
            val models = files.associateWith(store::model)
            val stoppable = pictures.takeWhile { running }
            LabelledJob.write(root, store.manifestText, models, stoppable, store::goldenBytes, choice.threads) { choice.delegate }
        }
        val labelled = source(ClassFolders(store.manifest), write)
        val stream = File(getExternalFilesDir(null) ?: filesDir, "records/${labelled.job.id}.jsonl")
        stream.delete()
        stream.parentFile?.mkdirs()
        File(labelled.folder, Job.FILE).copyTo(jobOf(stream), overwrite = true)
        val done =
            LineFile(stream).use { lines ->
                val told = Listener(::say)
                Runner(labelled.job, labelled.folder, Phone(this), lines, listener = told, stopped = { !running }).run()
            }
        record = stream
        show(labelled, stream.useLines { Accuracy(labelled, it) })
        return getString(if (done) R.string.accuracy_done else R.string.accuracy_stopped)
    }

    /** Where the job of a stream is kept, without which the host can't read it. */
    private fun jobOf(stream: File) = stream.resolveSibling("${stream.nameWithoutExtension}.json")

    private fun show(
        labelled: LabelledJob,
        accuracy: Accuracy,
    ) {
        for (one in accuracy.files()) {
            val text = getString(R.string.accuracy_file, one.file.name, one.percent, one.right, one.answered)
            runOnUiThread { addHeading(outcomes, text) }
        }
        for (problem in accuracy.problems.take(MOST_CHANGES)) runOnUiThread { addRow(outcomes, problem, R.color.fail) }
        for (one in accuracy.against()) {
            val text = getString(R.string.accuracy_drop, one.file.name, one.twin.name, one.drop, one.changes.size)
            runOnUiThread { addRow(outcomes, text) }
            one.changes.take(MOST_CHANGES).forEach { show(labelled, it) }
        }
    }

    private fun show(
        labelled: LabelledJob,
        change: Change,
    ) {
        val labels = store.manifest.labels
        val unknown = getString(R.string.unknown)
        val (own, twins) = listOf(change.answer, change.twinAnswer).map { labels.getOrNull(it) ?: unknown }
        val text = getString(R.string.accuracy_change, labelled.names[change.picture], labels[change.target], own, twins)
        val colour =
            when (change.target) {
                change.answer -> R.color.pass
                change.twinAnswer -> R.color.fail
                else -> 0
            }
        val file =
            File(
                labelled.folder,
                labelled.job.inputs.images[change.picture]
                    .path,
            )
        val thumbnail = Images.thumbnail(file.readBytes())
        runOnUiThread { addRow(outcomes, text, colour, thumbnail) }
    }

    private fun say(
        text: String,
        done: Int,
        all: Int,
    ) {
        // Drawing costs time that belongs to the measurement: once in a while is enough.
        val now = System.nanoTime()
        if (now - shown < SHOW_EVERY) return
        shown = now
        runOnUiThread {
            status.text = text
            progress.max = all
            progress.progress = done
        }
    }

    private fun showRunning(now: Boolean) {
        running = now
        val ready = !now && controls != null
        folder.isEnabled = ready
        archive.isEnabled = ready
        controls?.enable(!now)
        share.isEnabled = !now && record != null
        stop.visibility = if (now) View.VISIBLE else View.GONE
        progress.visibility = if (now) View.VISIBLE else View.GONE
        keepScreenOn(now)
    }

    private companion object {
        const val MOST_CHANGES = 50
        const val SHOW_EVERY = 200_000_000L
    }
}

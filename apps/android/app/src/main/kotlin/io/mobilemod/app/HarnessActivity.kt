package io.mobilemod.app

import android.content.Intent
import android.os.Bundle
import android.util.Log
import android.widget.TextView
import androidx.activity.ComponentActivity
import io.mobilemod.core.harness.Job
import io.mobilemod.core.harness.JobException
import io.mobilemod.core.harness.JobFolder
import io.mobilemod.core.harness.LineFile
import io.mobilemod.core.harness.Listener
import io.mobilemod.core.harness.Progress
import io.mobilemod.core.harness.Runner
import java.io.File
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.concurrent.thread
import kotlin.system.exitProcess

/**
 * Runs a job that the harness has put on the phone and started with
 * `am start -n io.mobilemod.app/.HarnessActivity --es job FOLDER`. FOLDER is `jobs/ID` in the app's
 * external files, or adb's own folder; nothing else is opened. The stream is appended to
 * `records/ID.jsonl` in the app's external files.
 */
class HarnessActivity : ComponentActivity() {
    private val stopped = AtomicBoolean()
    private val running = AtomicBoolean()
    private var shown = 0L

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_harness)
        start(intent)
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        if (running.get()) Log.w(TAG, getString(R.string.harness_busy)) else start(intent)
    }

    override fun onDestroy() {
        stopped.set(true)
        super.onDestroy()
    }

    private fun start(intent: Intent) {
        val asked = intent.getStringExtra(JOB) ?: return
        running.set(true)
        thread(name = "harness") {
            val text =
                try {
                    if (run(asked)) getString(R.string.harness_done) else getString(R.string.harness_stopped)
                } catch (error: Exception) {
                    // The harness watches the process: where no line can say it, its end does.
                    Log.e(TAG, "the job was not finished", error)
                    exitProcess(1)
                }
            running.set(false)
            say(text)
        }
    }

    private fun run(asked: String): Boolean {
        val own = getExternalFilesDir(null) ?: throw JobException("the phone's shared storage isn't there")
        val folder = JobFolder.resolve(asked, own, listOf(File(own, "jobs"), File(ADB_JOBS)))
        val record = File(own, "records/${folder.name}.jsonl")
        LineFile(record).use { file ->
            val phone = Phone(this)
            val job = JobFolder.read(folder, file, phone) ?: return false
            val progress = Progress.read(job, folder, record)
            val done = Runner(job, folder, phone, file, progress, Listener(::show), stopped::get).run()
            file.sync()
            return done
        }
    }

    private fun show(
        text: String,
        done: Int,
        all: Int,
    ) {
        // Drawing costs time that belongs to the measurement: once in a while is enough.
        val now = System.nanoTime()
        if (now - shown < SHOW_EVERY) return
        shown = now
        say(getString(R.string.harness_running, text, done, all))
    }

    private fun say(text: String) = runOnUiThread { findViewById<TextView>(R.id.status).text = text }

    private companion object {
        const val TAG = "mobilemod"
        const val JOB = "job"

        // Only adb's shell can write there, and apps may read.
        const val ADB_JOBS = "/data/local/tmp/mobilemod/jobs"
        const val SHOW_EVERY = 1_000_000_000L
    }
}

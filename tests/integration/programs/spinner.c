/* Uses all the time that it gets. */
int main(void) { for (volatile unsigned i = 0;; i++) {} }
